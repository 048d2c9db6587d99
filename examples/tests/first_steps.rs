//! The example tells what it is to tell.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use davit_examples::first_steps;
use worker_svc::reexec::Reexec;

#[tokio::test]
async fn one_task_goes_the_whole_way() {
    let data_dir = tempfile::tempdir().unwrap();
    let story = first_steps(data_dir.path(), Reexec::program(env!("CARGO_BIN_EXE_first-steps"))).await.unwrap();
    let expected = [
        "node node-1 joined: READY",
        "task hello created: PENDING (waiting to be placed)",
        "scheduler: fits 1 of 1 node",
        "manager committed 1 placement: SCHEDULED",
        "worker started it: RUNNING",
        "it wrote: hello from a davit task",
        "manager knows: COMPLETED, exit code 0",
        "cluster is at revision 5",
    ];
    for line in expected {
        assert!(story.iter().any(|told| told.starts_with(line)), "{line} is missing in {story:#?}");
    }
}
