//! Entries of the worker's store, as a damaged one may hold them.

use super::image::{self, ImageRecord};
use super::record::{Record, key_bytes, key_from_bytes};

/// An entry's value. Says whether it is a record.
///
/// # Panics
/// When it is another one after it was written and read again.
pub(crate) fn record(bytes: &[u8]) -> bool {
    let Some(record) = Record::from_bytes(bytes) else { return false };
    if let Some(assignment) = record.assignment() {
        let mut again = record.clone();
        again.set_assignment(&assignment);
        assert_eq!(again.assignment(), Some(assignment.clone()));
        assert_eq!(Record::from_bytes(&record.to_bytes(assignment.key)), Some(record.clone()));
    }
    let key = davit_core::id::AttemptKey {
        task_id: davit_core::id::TaskId(uuid::Uuid::nil()),
        attempt: davit_core::id::Attempt(1),
    };
    assert_eq!(Record::from_bytes(&record.to_bytes(key)), Some(record));
    true
}

/// An entry's key. Says whether it names an attempt.
///
/// # Panics
/// When it is not the key that the attempt is written under.
pub(crate) fn key(bytes: &[u8]) -> bool {
    let Some(key) = key_from_bytes(bytes) else { return false };
    assert_eq!(key_bytes(key), bytes);
    true
}

/// The value of an entry about an image. Says whether it is one.
///
/// # Panics
/// When it is another one after it was written and read again.
pub(crate) fn image(bytes: &[u8]) -> bool {
    let Some(record) = ImageRecord::from_bytes(bytes) else { return false };
    assert_eq!(ImageRecord::from_bytes(&record.to_bytes()), Some(record));
    true
}

/// The key of an entry about an image. Says whether it is one.
///
/// # Panics
/// When it is not the key that the image is written under.
pub(crate) fn image_key(bytes: &[u8]) -> bool {
    let Some(id) = image::key_from_bytes(bytes) else { return false };
    assert_eq!(image::key_bytes(&id), bytes);
    true
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, AttemptKey, Revision, TaskId};
    use davit_core::spec::{HealthCheck, Probe, ProcessSpec, RuntimeSpec, TaskSpec};
    use davit_core::state::TaskState;
    use davit_core::task::{AttemptStatus, DesiredState, Part};
    use davit_proto::convert::Assignment;
    use davit_proto::fuzzing::corpus::write_seed;
    use uuid::Uuid;

    use super::super::Unhealthy;
    use super::*;

    #[test]
    #[ignore = "writes seeds of fuzz/corpus/worker_record; after a change of the records"]
    fn the_seeds_are_written() {
        let key = AttemptKey { task_id: TaskId(Uuid::from_u128(7)), attempt: Attempt(2) };
        let process = ProcessSpec { command: vec!["true".to_owned()], env: [].into(), working_dir: String::new() };
        let check = Some(Box::new(HealthCheck::new(Probe::Tcp { port: 80 })));
        let spec = TaskSpec { health_check: check, ..TaskSpec::new("web", RuntimeSpec::Process(process)) }.into();
        let ports = [].into();
        let assignment = Assignment {
            key,
            revision: Revision(3),
            desired_state: DesiredState::Running,
            spec,
            ports,
            part: Part::Alone,
        };
        let mut record = Record::assigned(&assignment);
        let status = AttemptStatus {
            state: TaskState::Failed,
            exit_code: Some(3),
            ..AttemptStatus::pending(key.attempt, "it ended")
        };
        record.set_known(&status, true);
        let run = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        record.unhealthy = Some(Box::new(Unhealthy { run, reason: "unhealthy: tcp :80".to_owned() }));
        write_seed("worker_record", "store-record", &[&[0], record.to_bytes(key).as_slice()].concat());
        let image = ImageRecord { names: ["busybox:1".to_owned()].into(), last_used: jiff::Timestamp::UNIX_EPOCH };
        write_seed("worker_record", "store-image", &[&[5], image.to_bytes().as_slice()].concat());
        write_seed("worker_record", "store-image-key", &[&[6], image::key_bytes("sha256:0").as_slice()].concat());
        write_seed("worker_record", "store-key", &[&[1], key_bytes(key).as_slice()].concat());
    }
}
