//! Nodes: labelled, cordoned, drained.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::{LONGEST, code, davit, running_on, start, stderr, stdout};

#[tokio::test]
async fn nodes_are_labelled_and_cordoned() {
    let (cluster, manager) = start("nodes").await;
    let nodes: Value = serde_json::from_str(&stdout(&davit(&manager, &["node", "ls", "-o", "json"]).await)).unwrap();
    let name = nodes[0]["name"].as_str().unwrap();
    assert_eq!(code(&davit(&manager, &["node", "label", name, "rack=a"]).await), Some(0));
    assert_eq!(code(&davit(&manager, &["node", "cordon", name]).await), Some(0));
    let shown = stdout(&davit(&manager, &["node", "inspect", name]).await);
    assert!(shown.contains("READY, cordoned") && shown.contains("rack=a"), "{shown}");
    assert_eq!(code(&davit(&manager, &["node", "label", name, "rack-"]).await), Some(0));
    assert_eq!(code(&davit(&manager, &["node", "uncordon", name]).await), Some(0));
    let shown = stdout(&davit(&manager, &["node", "inspect", name]).await);
    assert!(!shown.contains("cordoned") && !shown.contains("rack"), "{shown}");

    let constraint = ["run", "--process", "--name", "bad name", "--constraint", "zone ~ a", "true"];
    let output = davit(&manager, &constraint).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("\n  spec.name: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("\n  spec.constraints[0]: "), "{}", stderr(&output));

    // Its worker is in touch: that takes --force, and does not last.
    let output = davit(&manager, &["node", "rm", name]).await;
    assert_eq!(code(&output), Some(1));
    let output = davit(&manager, &["node", "rm", "--force", name]).await;
    assert_eq!((code(&output), stdout(&output).trim()), (Some(0), name), "{}", stderr(&output));
    assert!(stderr(&output).contains("joins anew"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

/// `davit` as it runs, with what it says until now.
pub(super) struct Running {
    child: tokio::process::Child,
    said: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
}

impl Running {
    pub(super) fn start(manager: &str, line: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
        command.args(line).env("DAVIT_MANAGER", manager).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, said }
    }

    /// Reads what it says until there is a line with this text.
    pub(super) async fn until(&mut self, text: &str) -> String {
        let reads = async {
            let mut all = Vec::new();
            while let Some(line) = self.said.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
                all.push(line);
            }
            panic!("it never says `{text}`: {all:?}")
        };
        tokio::time::timeout(LONGEST, reads).await.unwrap_or_else(|_| panic!("it does not say `{text}`"))
    }

    /// As Ctrl-C does.
    pub(super) async fn interrupt(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    }

    pub(super) async fn code(mut self) -> Option<i32> {
        tokio::time::timeout(LONGEST, self.child.wait()).await.unwrap().unwrap().code()
    }
}

#[tokio::test]
async fn a_drain_shows_how_far_it_is_until_it_is_done() {
    let (cluster, manager) = start("drain").await;
    assert_eq!(code(&davit(&manager, &["node", "cordon", "node-2"]).await), Some(0));
    // Each takes a while to stop, and only one at a time is on the move.
    let slow = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.05; done";
    let run = ["run", "-d", "--process", "--name", "slow", "--count", "3", "sh", "-c", slow];
    assert_eq!(code(&davit(&manager, &run).await), Some(0));
    let all_run = async { while stdout(&davit(&manager, &["ps"]).await).matches("RUNNING").count() < 3 {} };
    tokio::time::timeout(LONGEST, all_run).await.expect("they don't run");
    assert_eq!(code(&davit(&manager, &["node", "uncordon", "node-2"]).await), Some(0));

    let mut drain = Running::start(&manager, &["node", "drain", "--max-parallel", "1", "node-1"]);
    for so_far in ["DRAINING: 0 moved, 1 moving, 2 to move", "DRAINING: 1 moved", "DRAINED: "] {
        let line = drain.until(so_far).await;
        assert!(line.starts_with("node-1: "), "{line}");
    }
    assert_eq!(drain.code().await, Some(0));
    assert_eq!(running_on(&manager, "node-2").await, 3);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_drain_goes_on_when_its_command_is_interrupted_and_can_be_cancelled() {
    let (cluster, manager) = start("drain-on").await;
    let bound = ["run", "-d", "--process", "--name", "bound", "--constraint", "node.name == node-1", "sleep", "600"];
    assert_eq!(code(&davit(&manager, &bound).await), Some(0));
    let runs = async { while running_on(&manager, "node-1").await < 1 {} };
    tokio::time::timeout(LONGEST, runs).await.expect("it does not run");

    let mut drain = Running::start(&manager, &["node", "drain", "node-1"]);
    drain.until("nowhere else now").await;
    drain.interrupt().await;
    let told = drain.until("The drain goes on.").await;
    assert!(told.contains("davit node inspect node-1") && told.contains("davit node drain --cancel node-1"), "{told}");
    assert_eq!(drain.code().await, Some(130));
    let shown = stdout(&davit(&manager, &["node", "inspect", "node-1"]).await);
    assert!(shown.contains("DRAINING"), "{shown}");

    let output = davit(&manager, &["node", "drain", "--cancel", "node-1"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let shown = stdout(&davit(&manager, &["node", "inspect", "node-1"]).await);
    assert!(!shown.contains("DRAINING") && shown.contains("cordoned"), "{shown}");
    cluster.stop().await.unwrap();
}
