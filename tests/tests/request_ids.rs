//! A create that is sent again does nothing twice, whatever happened to the manager in between.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::Stdio;

use davit_tests::binaries::{Service, path_of};

/// What a command ended with, and what it wrote.
async fn davit(manager: &Service, line: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(path_of("davit"));
    command.args(line).env("DAVIT_MANAGER", manager.address.to_string()).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_sent_again_after_the_manager_was_killed_creates_nothing_and_prints_the_same_ids() {
    let mut manager = Service::start("davit-manager", &["--cluster".to_owned(), "davit-request-ids".to_owned()]);
    manager.ready().await;
    let options = ["--process", "--count", "3", "--env", "B=2", "--env", "A=1", "--label", "x=1", "--label", "w=2"];
    let run = |id| [&["run", "--detach", "--request-id", id][..], &options[..], &["sleep", "600"]].concat();
    let first = davit(&manager, &run("nightly-7")).await;
    assert_eq!((first.0, first.1.lines().count()), (Some(0), 3), "{}", first.1);

    manager = manager.crash().await;
    assert_eq!(davit(&manager, &run("nightly-7")).await, first);
    manager = manager.crash().await;
    assert_eq!(davit(&manager, &run("nightly-7")).await, first);
    let listed = davit(&manager, &["ps", "--all", "--output", "json"]).await;
    assert_eq!(listed.1.matches("\"taskId\"").count(), 3, "{}", listed.1);

    // It is known for what it was.
    let other = davit(&manager, &["run", "--detach", "--request-id", "nightly-7", "--process", "true"]).await;
    assert!(other.0 == Some(1) && other.1.contains("request id `nightly-7` was used before"), "{other:?}");
    let another = davit(&manager, &run("nightly-8")).await;
    assert!(another.0 == Some(0) && another.1.lines().all(|task_id| !first.1.contains(task_id)), "{another:?}");
    assert_eq!(davit(&manager, &run("")).await.0, Some(2), "an empty one would be none");
}
