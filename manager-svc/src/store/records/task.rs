//! Tasks.

use davit_core::id::{Attempt, DeploymentId, GangId, JobId, NodeId, Revision, TaskId};
use davit_core::task::{AttemptStatus, Claim, Membership, PortBinding, Ports, PullProgress, RunIndex, Task};
use davit_core::validate::Violations;
use davit_proto::{convert, store_v1, v1};

use super::{
    Malformed, SpecKey, SpecSource, malformed, optional_time_from, optional_uuid_from, read, slot_from_record,
    slot_to_record, time_from, time_to, uuid_from,
};

/// Writes a task whose spec has this key.
pub(in crate::store) fn task_to_record(task: &Task, spec_key: SpecKey) -> store_v1::TaskRecord {
    let Task {
        task_id,
        spec: _,
        desired_state,
        wanted_attempt,
        status,
        given_ports,
        next_attempt_at,
        leased_until,
        claim,
        membership: _,
        restarts_in_row,
        past_attempts,
        created_at,
        updated_at,
        revision,
    } = task;
    store_v1::TaskRecord {
        task_id: task_id.0.as_bytes().to_vec(),
        spec_key: spec_key.as_bytes().to_vec(),
        desired_state: convert::desired_state_to_proto(*desired_state).into(),
        wanted_attempt: wanted_attempt.0,
        status: Some(attempt_to_record(status)),
        given_ports: given_ports.iter().map(port_to_record).collect(),
        next_attempt_time: next_attempt_at.map(time_to),
        claim: claim.as_ref().map(|claim| store_v1::ClaimRecord {
            node_id: claim.node_id.0.as_bytes().to_vec(),
            reason: claim.reason.clone(),
        }),
        gang_id: task.gang_id().map(|gang_id| gang_id.0.as_bytes().to_vec()).unwrap_or_default(),
        restarts_in_row: *restarts_in_row,
        past_attempts: past_attempts.iter().map(attempt_to_record).collect(),
        create_time: Some(time_to(*created_at)),
        update_time: Some(time_to(*updated_at)),
        revision: revision.0,
        lease_end_time: leased_until.map(time_to),
        deployment: task.slot().map(|(deployment_id, slot)| slot_to_record(Some(deployment_id), slot)),
        job: task.run_index().map(|(job_id, RunIndex { run, index })| {
            let job_id = job_id.0.as_bytes().to_vec();
            store_v1::JobIndexRecord { job_id, run, index }
        }),
    }
}

/// Reads a task. Says also which spec it has.
pub(in crate::store) fn task_from_record(
    record: store_v1::TaskRecord,
    specs: &impl SpecSource,
) -> Result<(Task, SpecKey), Malformed> {
    let spec_key = SpecKey::from_bytes(record.spec_key.as_slice())?;
    let Some(spec) = specs.spec(spec_key) else { return malformed(format!("its spec {spec_key:?} is missing")) };
    let mut violations = Violations::new();
    let desired_state = convert::desired_state_from_proto(record.desired_state, "desired_state", &mut violations);
    let desired_state = read(desired_state, &violations)?;
    let Some(status) = record.status else { return malformed("status is missing") };
    let claim = match record.claim {
        Some(claim) => {
            let node_id = NodeId(uuid_from(&claim.node_id, "claim.node_id")?);
            Some(Box::new(Claim { node_id, reason: claim.reason }))
        }
        None => None,
    };
    let past_attempts = record.past_attempts.into_iter().map(attempt_from_record);
    let task = Task {
        task_id: TaskId(uuid_from(&record.task_id, "task_id")?),
        spec,
        desired_state,
        wanted_attempt: Attempt(record.wanted_attempt),
        status: attempt_from_record(status)?,
        given_ports: ports_from_records(&record.given_ports)?,
        next_attempt_at: optional_time_from(record.next_attempt_time, "next_attempt_time")?,
        leased_until: optional_time_from(record.lease_end_time, "lease_end_time")?,
        claim,
        membership: membership_from_record(&record.gang_id, record.deployment, record.job)?.map(Box::new),
        restarts_in_row: record.restarts_in_row,
        past_attempts: past_attempts.collect::<Result<_, _>>()?,
        created_at: time_from(record.create_time, "create_time")?,
        updated_at: time_from(record.update_time, "update_time")?,
        revision: Revision(record.revision),
    };
    Ok((task, spec_key))
}

fn membership_from_record(
    gang_id: &[u8],
    deployment: Option<store_v1::SlotRecord>,
    job: Option<store_v1::JobIndexRecord>,
) -> Result<Option<Membership>, Malformed> {
    if let Some(store_v1::JobIndexRecord { job_id, run, index }) = job {
        let job_id = JobId(uuid_from(&job_id, "job.job_id")?);
        return Ok(Some(Membership::Job(job_id, RunIndex { run, index })));
    }
    let Some(deployment) = deployment else {
        return Ok(optional_uuid_from(gang_id, "gang_id")?.map(|gang_id| Membership::Gang(GangId(gang_id))));
    };
    let deployment_id = DeploymentId(uuid_from(&deployment.deployment_id, "deployment.deployment_id")?);
    Ok(Some(Membership::Deployment(deployment_id, slot_from_record(&deployment, "deployment")?)))
}

fn attempt_to_record(status: &AttemptStatus) -> store_v1::AttemptRecord {
    let AttemptStatus {
        attempt,
        state,
        sequence,
        node_id,
        ready,
        reason,
        exit_code,
        oom_killed,
        ports,
        pull,
        started_at,
        finished_at,
        local_restarts,
    } = status;
    let pull_to_record = |progress: &PullProgress| {
        let PullProgress { downloaded_bytes, total_bytes, layers_done, layers_total } = *progress;
        v1::PullProgress { downloaded_bytes, total_bytes, layers_done, layers_total }
    };
    store_v1::AttemptRecord {
        attempt: attempt.0,
        state: convert::task_state_to_proto(*state).into(),
        sequence: *sequence,
        node_id: node_id.map(|node_id| node_id.0.as_bytes().to_vec()).unwrap_or_default(),
        ready: *ready,
        reason: reason.clone(),
        exit_code: *exit_code,
        oom_killed: *oom_killed,
        ports: ports.iter().map(port_to_record).collect(),
        pull_progress: pull.as_deref().map(pull_to_record),
        start_time: started_at.map(time_to),
        finish_time: finished_at.map(time_to),
        local_restarts: *local_restarts,
    }
}

fn attempt_from_record(record: store_v1::AttemptRecord) -> Result<AttemptStatus, Malformed> {
    let mut violations = Violations::new();
    let state = convert::task_state_from_proto(record.state, "status.state", &mut violations);
    let state = read(state, &violations)?;
    let pull_from_record = |progress: v1::PullProgress| {
        let v1::PullProgress { downloaded_bytes, total_bytes, layers_done, layers_total } = progress;
        Box::new(PullProgress { downloaded_bytes, total_bytes, layers_done, layers_total })
    };
    Ok(AttemptStatus {
        attempt: Attempt(record.attempt),
        state,
        sequence: record.sequence,
        node_id: optional_uuid_from(&record.node_id, "status.node_id")?.map(NodeId),
        ready: record.ready,
        reason: record.reason,
        exit_code: record.exit_code,
        oom_killed: record.oom_killed,
        ports: ports_from_records(&record.ports)?,
        pull: record.pull_progress.map(pull_from_record),
        started_at: optional_time_from(record.start_time, "status.start_time")?,
        finished_at: optional_time_from(record.finish_time, "status.finish_time")?,
        local_restarts: record.local_restarts,
    })
}

fn port_to_record(binding: &PortBinding) -> v1::PortBinding {
    let PortBinding { container_port, protocol, host_port } = *binding;
    v1::PortBinding {
        container_port: container_port.into(),
        protocol: convert::port_protocol_to_proto(protocol).into(),
        host_port: host_port.into(),
    }
}

fn ports_from_records(records: &[v1::PortBinding]) -> Result<Ports, Malformed> {
    records.iter().map(port_from_record).collect()
}

fn port_from_record(record: &v1::PortBinding) -> Result<PortBinding, Malformed> {
    let mut violations = Violations::new();
    let protocol = convert::port_protocol_from_proto(record.protocol, "ports.protocol", &mut violations);
    let protocol = read(protocol, &violations)?;
    match (u16::try_from(record.container_port), u16::try_from(record.host_port)) {
        (Ok(container_port), Ok(host_port)) => Ok(PortBinding { container_port, protocol, host_port }),
        _ => malformed("a port is above 65535"),
    }
}
