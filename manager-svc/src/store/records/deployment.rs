//! Deployments. The specs of their tasks are kept apart, as those of all tasks are.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::{CreateRequest, Deployment, Incoming, Rollout, Version};
use davit_core::id::{Attempt, DeploymentId, NodeId, Revision, TaskId};
use davit_core::task::Slot;
use davit_core::validate::Violations;
use davit_proto::{convert, store_v1};

use super::{
    Malformed, SpecKey, SpecSource, malformed, optional_time_from, optional_uuid_from, read, time_from, time_to,
    uuid_from,
};

/// Writes a deployment; `spec_key` gives the keys of its tasks' specs, in the order of its versions.
pub(in crate::store) fn deployment_to_record(
    deployment: &Deployment,
    spec_keys: &[SpecKey],
) -> store_v1::DeploymentRecord {
    let Deployment {
        deployment_id,
        name,
        versions,
        rollout,
        created_by,
        waits,
        is_deleted,
        created_at,
        updated_at,
        revision,
    } = deployment;
    let versions = versions.iter().zip(spec_keys);
    store_v1::DeploymentRecord {
        deployment_id: deployment_id.0.as_bytes().to_vec(),
        name: name.clone(),
        versions: versions.map(|(version, key)| version_to_record(name, version, *key)).collect(),
        rollout: Some(rollout_to_record(rollout)),
        waits: *waits,
        is_deleted: *is_deleted,
        create_time: Some(time_to(*created_at)),
        update_time: Some(time_to(*updated_at)),
        revision: revision.0,
        request_id: created_by.as_ref().map(|request| request.request_id.clone()).unwrap_or_default(),
        request_fingerprint: created_by.as_ref().map_or(0, |request| request.fingerprint),
    }
}

/// Reads a deployment. Says also which specs its versions have.
pub(in crate::store) fn deployment_from_record(
    record: store_v1::DeploymentRecord,
    specs: &impl SpecSource,
) -> Result<(Deployment, Vec<SpecKey>), Malformed> {
    let versions = record.versions.into_iter().map(|version| version_from_record(version, specs));
    let (versions, spec_keys): (Vec<_>, Vec<_>) = versions.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    if versions.is_empty() {
        return malformed("it has no version");
    }
    let Some(rollout) = record.rollout else { return malformed("rollout is missing") };
    let deployment = Deployment {
        deployment_id: DeploymentId(uuid_from(&record.deployment_id, "deployment_id")?),
        name: record.name,
        versions,
        rollout: rollout_from_record(rollout)?,
        created_by: CreateRequest::given(record.request_id, record.request_fingerprint),
        waits: record.waits,
        is_deleted: record.is_deleted,
        created_at: time_from(record.create_time, "create_time")?,
        updated_at: time_from(record.update_time, "update_time")?,
        revision: Revision(record.revision),
    };
    Ok((deployment, spec_keys))
}

fn version_to_record(name: &str, version: &Version, spec_key: SpecKey) -> store_v1::VersionRecord {
    let Version { number, spec, created_at, author, change, proven } = version;
    store_v1::VersionRecord {
        version: *number,
        spec: Some(convert::deployment_spec_without_task(name, spec)),
        task_spec_key: spec_key.as_bytes().to_vec(),
        create_time: Some(time_to(*created_at)),
        author: author.clone(),
        change: change.clone(),
        proven: *proven,
    }
}

fn version_from_record(
    record: store_v1::VersionRecord,
    specs: &impl SpecSource,
) -> Result<(Arc<Version>, SpecKey), Malformed> {
    let spec_key = SpecKey::from_bytes(record.task_spec_key.as_slice())?;
    let Some(task) = specs.spec(spec_key) else { return malformed(format!("its spec {spec_key:?} is missing")) };
    let Some(spec) = record.spec else { return malformed("versions.spec is missing") };
    let mut violations = Violations::new();
    let settings = convert::deployment_settings_from_proto(spec, "versions.spec", &mut violations);
    let settings = read(settings, &violations)?;
    let version = Version {
        number: record.version,
        spec: settings.with_task(task),
        created_at: time_from(record.create_time, "versions.create_time")?,
        author: record.author,
        change: record.change,
        proven: record.proven,
    };
    Ok((Arc::new(version), spec_key))
}

fn rollout_to_record(rollout: &Rollout) -> store_v1::RolloutRecord {
    let Rollout {
        state,
        reason,
        from_version,
        is_rollback,
        promoted,
        started_at,
        progress_at,
        finished_at,
        next_at,
        in_flight,
        done,
        failed,
        serving_since,
    } = rollout;
    let incoming = |(slot, incoming): (&Slot, &Incoming)| {
        let Incoming { task_id, attempt, counted_from, ready_since, failed } = incoming;
        store_v1::IncomingRecord {
            slot: Some(slot_to_record(None, *slot)),
            task_id: task_id.map(|task_id| task_id.0.as_bytes().to_vec()).unwrap_or_default(),
            ready_time: ready_since.map(time_to),
            failed: *failed,
            attempt: attempt.0,
            counted_from: counted_from.0,
        }
    };
    store_v1::RolloutRecord {
        state: convert::rollout_state_to_proto(*state).into(),
        reason: reason.clone(),
        from_version: from_version.unwrap_or(0),
        is_rollback: *is_rollback,
        promoted: *promoted,
        start_time: Some(time_to(*started_at)),
        progress_time: Some(time_to(*progress_at)),
        finish_time: finished_at.map(time_to),
        next_time: next_at.map(time_to),
        in_flight: in_flight.iter().map(incoming).collect(),
        done: *done,
        failed: *failed,
        serving_time: serving_since.map(time_to),
    }
}

fn rollout_from_record(record: store_v1::RolloutRecord) -> Result<Rollout, Malformed> {
    let mut violations = Violations::new();
    let state = convert::rollout_state_from_proto(record.state, "rollout.state", &mut violations);
    let mut in_flight = BTreeMap::new();
    for incoming in record.in_flight {
        let Some(slot) = incoming.slot else { return malformed("rollout.in_flight.slot is missing") };
        let task_id = optional_uuid_from(&incoming.task_id, "rollout.in_flight.task_id")?.map(TaskId);
        let ready_since = optional_time_from(incoming.ready_time, "rollout.in_flight.ready_time")?;
        let slot = slot_from_record(&slot, "rollout.in_flight.slot")?;
        let (attempt, counted_from) = (Attempt(incoming.attempt), Attempt(incoming.counted_from));
        in_flight.insert(slot, Incoming { task_id, attempt, counted_from, ready_since, failed: incoming.failed });
    }
    Ok(Rollout {
        state: read(state, &violations)?,
        reason: record.reason,
        from_version: Some(record.from_version).filter(|number| *number > 0),
        is_rollback: record.is_rollback,
        promoted: record.promoted,
        started_at: time_from(record.start_time, "rollout.start_time")?,
        progress_at: time_from(record.progress_time, "rollout.progress_time")?,
        finished_at: optional_time_from(record.finish_time, "rollout.finish_time")?,
        next_at: optional_time_from(record.next_time, "rollout.next_time")?,
        in_flight,
        done: record.done,
        failed: record.failed,
        serving_since: optional_time_from(record.serving_time, "rollout.serving_time")?,
    })
}

/// Writes a place in a deployment; within a deployment's own record it need not say which.
pub(super) fn slot_to_record(deployment_id: Option<DeploymentId>, slot: Slot) -> store_v1::SlotRecord {
    let (replica, node_id) = match slot {
        Slot::Replica(replica) => (replica, Vec::new()),
        Slot::Node(node_id) => (0, node_id.0.as_bytes().to_vec()),
    };
    let deployment_id = deployment_id.map(|id| id.0.as_bytes().to_vec()).unwrap_or_default();
    store_v1::SlotRecord { deployment_id, replica, node_id }
}

/// Reads a place in a deployment.
pub(super) fn slot_from_record(record: &store_v1::SlotRecord, field: &str) -> Result<Slot, Malformed> {
    match (record.replica, optional_uuid_from(&record.node_id, field)?) {
        (0, Some(node_id)) => Ok(Slot::Node(NodeId(node_id))),
        (replica, None) if replica > 0 => Ok(Slot::Replica(replica)),
        _ => malformed(format!("{field} is neither a replica's nor a node's")),
    }
}

#[cfg(test)]
mod tests {
    use davit_core::deployment::{
        DEFAULT_KEPT_VERSIONS, Dependency, DependencyCondition, DeploymentMode, DeploymentSpec, UpdatePolicy,
    };
    use davit_core::spec::{ContainerSpec, RuntimeSpec, TaskSpec};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    struct OneSpec(Arc<TaskSpec>);

    impl SpecSource for OneSpec {
        fn spec(&self, _: SpecKey) -> Option<Arc<TaskSpec>> {
            Some(Arc::clone(&self.0))
        }
    }

    #[test]
    fn one_that_waits_still_waits_when_it_is_read() {
        let container = ContainerSpec::new("web:1".parse().unwrap());
        let task = Arc::new(TaskSpec::new("web", RuntimeSpec::Container(container)));
        let dependency =
            Dependency { deployment: "db".to_owned(), condition: DependencyCondition::Completed, required: false };
        let spec = DeploymentSpec {
            labels: BTreeMap::new(),
            mode: DeploymentMode::Global,
            task: Arc::clone(&task),
            update: UpdatePolicy::default(),
            rollback: None,
            kept_versions: DEFAULT_KEPT_VERSIONS,
            app: "shop".to_owned(),
            start_after: vec![dependency],
        };
        let now = Timestamp::UNIX_EPOCH;
        let (author, change) = (String::new(), "created".to_owned());
        let version = Version { number: 1, spec, created_at: now, author, change, proven: false };
        let deployment = Deployment {
            deployment_id: DeploymentId(Uuid::from_u128(1)),
            name: "web".to_owned(),
            versions: vec![Arc::new(version)],
            rollout: Rollout::begin(now, None, false, true),
            created_by: None,
            waits: true,
            is_deleted: false,
            created_at: now,
            updated_at: now,
            revision: Revision(7),
        };
        let key = SpecKey::of(b"any");
        let record = deployment_to_record(&deployment, &[key]);
        assert_eq!(deployment_from_record(record, &OneSpec(task)).unwrap(), (deployment, vec![key]));
    }
}
