//! Tasks: run, listed, restarted, deleted.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::{a_program, code, davit, running_on, shown_of, start, stderr, stdout};

#[tokio::test]
async fn run_ends_as_its_task_does() {
    let (cluster, manager) = start("run").await;
    let output = davit(&manager, &["run", "--process", "sh", "-c", "echo out; echo err >&2; sleep 1; exit 7"]).await;
    assert_eq!(code(&output), Some(7));
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("RUNNING") && stderr(&output).contains("FAILED"), "{}", stderr(&output));
    let output = davit(&manager, &["logs", "sh"]).await;
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("out\n", "err\n"));

    let line = ["run", "--process", "--count", "3", "--name", "batch", "-o", "json", "true"];
    let output = davit(&manager, &line).await;
    assert_eq!(code(&output), Some(0));
    let tasks: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let states: Vec<_> = tasks.as_array().unwrap().iter().map(|task| &task["status"]["state"]).collect();
    assert_eq!(states, ["TASK_STATE_COMPLETED"; 3]);

    // Of tasks that have ended the newest is looked at, and none is changed.
    let newest = tasks.as_array().unwrap().iter().filter_map(|task| task["taskId"].as_str()).max();
    let shown: Value =
        serde_json::from_str(&stdout(&davit(&manager, &["inspect", "-o", "json", "batch"]).await)).unwrap();
    assert_eq!(shown[0]["taskId"].as_str(), newest);
    let output = davit(&manager, &["rm", "batch"]).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("`batch` may be 3 tasks"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_task_lives_through_all_commands() {
    let (cluster, manager) = start("life").await;
    let output =
        davit(&manager, &["run", "-d", "--process", "--name", "web", "--label", "app=web", "sleep", "600"]).await;
    let task_id = stdout(&output).trim().to_owned();
    assert_eq!(task_id.len(), 36, "{task_id}");

    assert_eq!(stdout(&davit(&manager, &["ps", "-q", "--label", "app=web"]).await).trim(), task_id);
    for reference in [&task_id, &task_id[24..], &task_id[..9], "web"] {
        let shown = stdout(&davit(&manager, &["inspect", "-o", "json", reference]).await);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown[0]["taskId"], task_id.as_str(), "{reference}");
    }
    let output = davit(&manager, &["rm", "web"]).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));

    let output = davit(&manager, &["restart", "web"]).await;
    assert_eq!((code(&output), stdout(&output).trim()), (Some(0), task_id.as_str()), "{}", stderr(&output));
    assert_eq!(
        (shown_of(&manager, "web", "State").await, shown_of(&manager, "web", "Attempt").await),
        ("RUNNING".into(), "2".into())
    );
    assert_eq!(code(&davit(&manager, &["restart", "-d", "web"]).await), Some(0));

    assert_eq!(code(&davit(&manager, &["stop", "web"]).await), Some(0));
    let output = davit(&manager, &["stop", "web"]).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("has ended already: it is STOPPED"), "{}", stderr(&output));
    assert_eq!(stdout(&davit(&manager, &["ps", "-q"]).await), "");
    assert!(stdout(&davit(&manager, &["ps", "-a"]).await).contains("STOPPED"));
    let events = stdout(&davit(&manager, &["events", "--task", "web"]).await);
    assert!(events.lines().next().unwrap().contains("TASK_CREATED"), "{events}");
    assert_eq!(code(&davit(&manager, &["rm", "web"]).await), Some(0));
    assert_eq!(code(&davit(&manager, &["inspect", "web"]).await), Some(1));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_name_is_that_of_the_task_which_lives() {
    let (cluster, manager) = start("names").await;
    let sleeper = ["run", "-d", "--process", "--name", "sl", "sleep", "600"];
    for _ in 0..2 {
        let task_id = stdout(&davit(&manager, &sleeper).await).trim().to_owned();
        assert_eq!(code(&davit(&manager, &["explain", "sl"]).await), Some(0));
        let output = davit(&manager, &["stop", "sl"]).await;
        assert_eq!((code(&output), stdout(&output).trim()), (Some(0), task_id.as_str()), "{}", stderr(&output));
    }
    let output = davit(&manager, &["stop", "sl"]).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("`sl` may be 2 tasks"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_that_does_not_run_fails() {
    let (cluster, manager) = start("restart").await;
    let program = a_program("restart");
    let line = ["run", "-d", "--process", "--name", "web", program.to_str().unwrap()];
    assert_eq!(code(&davit(&manager, &line).await), Some(0));
    while running_on(&manager, "node-1").await + running_on(&manager, "node-2").await < 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::remove_file(&program).unwrap();
    let output = davit(&manager, &["restart", "web"]).await;
    assert_eq!((code(&output), stdout(&output).as_str()), (Some(1), ""));
    assert!(stderr(&output).contains("does not run anew: it ended FAILED: "), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn output_that_nobody_reads_is_no_failure() {
    let (cluster, manager) = start("pipe").await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_davit"))
        .args(["events"])
        .env("DAVIT_MANAGER", &manager)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As `head` does when it has seen enough.
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (Some(0), ""));
    cluster.stop().await.unwrap();
}
