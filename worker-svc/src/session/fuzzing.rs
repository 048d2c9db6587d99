//! What the manager sends on a session, as an open session reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_core::validate::Violations;
use davit_proto::convert::{
    KnownSpecs, assignment_from_proto, assignment_to_proto, foreign_attempts_from_proto, task_spec_to_proto,
    welcome_from_proto, welcome_to_proto,
};
use davit_proto::fuzzing::encoded_and_back;
use davit_proto::v1;
use davit_proto::v1::session_response::Message;
use prost::Message as _;

use super::heartbeats::Heartbeats;
use super::{active, logs};
use crate::agent::assignments::{Follower, Order};
use crate::local_store::Record;

/// A message of the manager.
///
/// # Panics
/// When what was accepted is not the same after it was written and read again, or an assignment does not survive in the
/// worker's own store.
pub fn message(bytes: &[u8]) {
    if let Ok(v1::SessionResponse { message: Some(message) }) = v1::SessionResponse::decode(bytes) {
        accepts(message);
    }
}

/// As [`message`]. Says whether all of it was accepted.
fn accepts(message: Message) -> bool {
    match message {
        Message::Welcome(welcome) => {
            let Some(read) = welcome_from_proto(welcome, "welcome", &mut Violations::new()) else { return false };
            let written = encoded_and_back(&welcome_to_proto(&read));
            assert_eq!(welcome_from_proto(written, "welcome", &mut Violations::new()).as_ref(), Some(&read));
            // As long as it may be: what follows of it must not overflow.
            let heartbeats = Heartbeats::new(read.lease_duration);
            assert!(heartbeats.lease_of(Duration::from_secs(1)) >= Duration::from_secs(1));
            true
        }
        Message::Assignments(assignments) => {
            let told = assignments.assignments.len() + assignments.removed.len();
            follow(assignments) == told
        }
        Message::StartLogs(order) => logs::understood(&order).is_ok(),
        Message::Disconnect(disconnect) => {
            active::disconnected(disconnect);
            true
        }
        Message::HeartbeatAck(ack) => {
            let mut heartbeats = Heartbeats::new(Some(Duration::from_secs(1)));
            let sent = heartbeats.send(Duration::from_secs(7));
            assert_eq!(heartbeats.acknowledge(ack.heartbeat_id).is_some(), ack.heartbeat_id == sent);
            true
        }
        Message::RemoveForeign(order) => {
            foreign_attempts_from_proto(&order.attempts, "remove_foreign.attempts", &mut Violations::new()).is_some()
        }
        Message::StatusAck(_) => true,
    }
}

/// Follows assignments, first of an empty worker and then of one that holds all of them. Gives how many were understood.
fn follow(message: v1::Assignments) -> usize {
    let batch = active::batch(message, &mut KnownSpecs::new());
    let understood = batch.assignments.len() + batch.removed.len();
    for assignment in &batch.assignments {
        let (key, spec) = (assignment.key, Some(task_spec_to_proto(&assignment.spec)));
        let written = assignment_to_proto(
            key,
            assignment.revision,
            assignment.desired_state,
            spec,
            &assignment.ports,
            assignment.part,
        );
        let again = assignment_from_proto(
            encoded_and_back(&written),
            &mut KnownSpecs::new(),
            "assignment",
            &mut Violations::new(),
        );
        assert_eq!(again.as_ref(), Some(assignment), "an assignment is another one after it was written");
        assert_eq!(
            Record::assigned(assignment).assignment().as_ref(),
            Some(assignment),
            "it does not survive a restart"
        );
    }
    let held: BTreeMap<_, _> = batch.assignments.iter().map(|assignment| (assignment.key, false)).collect();
    let mut follower = Follower::new();
    for held in [BTreeMap::new(), held] {
        let orders = follower.follow(batch.clone(), &held);
        let newest = |task_id| batch.assignments.iter().map(|one| one.key).filter(|key| key.task_id == task_id).max();
        for order in orders {
            if let Order::Assign(assignment) = order
                && assignment.desired_state == davit_core::task::DesiredState::Running
            {
                assert_eq!(newest(assignment.key.task_id), Some(assignment.key), "an old attempt is run");
            }
        }
    }
    understood
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::*;

    const TASK: &str = "0193a5c0-1c1e-7d3a-9a53-0f5be2f0b001";

    fn messages() -> Vec<(&'static str, Message)> {
        let second = |seconds| Some(davit_proto::convert::duration_to_proto(Duration::from_secs(seconds)));
        let container = v1::ContainerSpec {
            image: "busybox:1".to_owned(),
            env: [("A".to_owned(), "b".to_owned())].into(),
            ports: vec![v1::Port { container_port: 80, protocol: 1, host_port: 0 }],
            ..Default::default()
        };
        let spec = v1::TaskSpec {
            name: "web".to_owned(),
            runtime: Some(v1::task_spec::Runtime::Container(container)),
            ..Default::default()
        };
        let assignment = v1::Assignment {
            slot: 2,
            run_index: None,
            task_id: TASK.to_owned(),
            attempt: 2,
            revision: 7,
            desired_state: v1::DesiredState::Running.into(),
            spec: Some(spec),
            ports: vec![v1::PortBinding { container_port: 80, protocol: 1, host_port: 20_000 }],
            spec_number: 1,
        };
        let removed = v1::AttemptRef { task_id: TASK.to_owned(), attempt: 1 };
        let welcome = v1::Welcome {
            cluster: "c".to_owned(),
            heartbeat_period: second(1),
            session_id: TASK.to_owned(),
            lease_duration: second(10),
            cluster_id: TASK.to_owned(),
        };
        let foreign =
            v1::ForeignAttempt { node_id: TASK.to_owned(), task_id: TASK.to_owned(), attempt: 1, ..Default::default() };
        vec![
            ("welcome", Message::Welcome(welcome)),
            (
                "assignments",
                Message::Assignments(v1::Assignments {
                    full: true,
                    last: true,
                    assignments: vec![assignment],
                    removed: vec![removed],
                    ..Default::default()
                }),
            ),
            ("remove-foreign", Message::RemoveForeign(v1::RemoveForeign { attempts: vec![foreign] })),
            ("heartbeat-ack", Message::HeartbeatAck(v1::HeartbeatAck { heartbeat_id: 1, heartbeat_every: None })),
            ("status-ack", Message::StatusAck(v1::StatusAck { report_id: 1, heartbeat_ack: None })),
            (
                "start-logs",
                Message::StartLogs(v1::StartLogs {
                    log_id: TASK.to_owned(),
                    task_id: TASK.to_owned(),
                    attempt: 1,
                    tail_lines: Some(5),
                    follow: true,
                    since: Some(davit_proto::convert::timestamp_to_proto(jiff::Timestamp::UNIX_EPOCH)),
                }),
            ),
            ("disconnect", Message::Disconnect(v1::Disconnect { reason: "r".to_owned(), retry_after: second(1) })),
        ]
    }

    #[test]
    fn every_seed_of_messages_is_understood_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("manager_message");
        for seed in &seeds {
            let message = v1::SessionResponse::decode(seed.as_slice()).unwrap().message.unwrap();
            assert!(accepts(message.clone()), "{message:?}");
        }
        for_each_mutation(&seeds, 600, message);
    }

    #[test]
    #[ignore = "writes fuzz/corpus/manager_message; after a change of the messages"]
    fn the_seeds_are_written() {
        for (name, message) in messages() {
            let response = v1::SessionResponse { message: Some(message) };
            write_seed("manager_message", name, &response.encode_to_vec());
        }
    }
}
