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
    assert_eq!(ending(&exit(0), false).state, TaskState::Completed);
    assert_eq!(ending(&exit(3), false).state, TaskState::Failed);
    assert_eq!(ending(&exit(0), true).state, TaskState::Stopped);
    assert_eq!(ending(&exit(143), true).state, TaskState::Stopped);
    let without_lease = Exit { lease_ended: true, error: "its lease ended".to_owned(), ..exit(143) };
    assert_eq!(ending(&without_lease, false).state, TaskState::Stopped);
    assert_eq!(ending(&without_lease, false).reason, "its lease ended");
    let unknown = Exit { error: "it is gone".to_owned(), ..exit(Exit::UNKNOWN_CODE) };
    assert_eq!(ending(&unknown, false).reason, "nobody knows its exit code: it is gone");
    let killed = Exit { oom_killed: true, ..exit(137) };
    assert!(ending(&killed, false).reason.contains("out of memory"));
}
