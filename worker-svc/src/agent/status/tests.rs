use jiff::Timestamp;

use super::*;

fn exit(exit_code: i32) -> Exit {
    Exit {
        exit_code,
        oom_killed: false,
        lease_ended: false,
        error: String::new(),
        started_at: None,
        finished_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn only_who_ends_alone_completes_or_fails() {
    assert_eq!(ending(&exit(0), false, None).state, TaskState::Completed);
    assert_eq!(ending(&exit(3), false, None).state, TaskState::Failed);
    assert_eq!(ending(&exit(0), true, None).state, TaskState::Stopped);
    assert_eq!(ending(&exit(143), true, None).state, TaskState::Stopped);
    let without_lease = Exit { lease_ended: true, error: "its lease ended".to_owned(), ..exit(143) };
    assert_eq!(ending(&without_lease, false, None).state, TaskState::Stopped);
    assert_eq!(ending(&without_lease, false, None).reason, "its lease ended");
    let unknown = Exit { error: "it is gone".to_owned(), ..exit(Exit::UNKNOWN_CODE) };
    assert_eq!(ending(&unknown, false, None).reason, "nobody knows its exit code: it is gone");
    let killed = Exit { oom_killed: true, ..exit(137) };
    assert!(ending(&killed, false, None).reason.contains("out of memory"));
}

#[test]
fn what_was_stopped_because_it_did_not_serve_failed_unless_it_was_asked_to_stop_as_well() {
    let unhealthy = Unhealthy { run: Timestamp::UNIX_EPOCH, reason: "unhealthy: tcp :80".to_owned() };
    for code in [0, 3, 143] {
        let failed = ending(&exit(code), false, Some(&unhealthy));
        assert_eq!((failed.state, failed.reason.as_str()), (TaskState::Failed, "unhealthy: tcp :80"));
        assert_eq!(ending(&exit(code), true, Some(&unhealthy)).state, TaskState::Stopped);
    }
}
