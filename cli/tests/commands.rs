//! The binary as scripts see it: what it writes, where, and the code it ends with; against a real cluster of processes.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use davit_cli::local::{LocalCluster, Options, Ports};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use worker_svc::reexec::Reexec;

/// What takes longer waits for something that will not come.
const LONGEST: Duration = Duration::from_secs(60);

async fn davit(manager: &str, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.args(line).env("DAVIT_MANAGER", manager).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(LONGEST, command.output()).await;
    done.unwrap_or_else(|_| panic!("davit {line:?} takes longer than {} s", LONGEST.as_secs())).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// `name` keeps clusters of one process apart.
async fn start(name: &str) -> (LocalCluster, String) {
    let options = Options {
        cluster: format!("cli-test-{name}"),
        workers: 2,
        data_dir: None,
        ports: Ports::Free,
        docker: None,
        reexec: Reexec::program(env!("CARGO_BIN_EXE_davit")),
    };
    let cluster = LocalCluster::start(options).await.unwrap();
    let manager = cluster.manager.to_string();
    (cluster, manager)
}

#[tokio::test]
async fn without_a_manager_the_code_is_3_and_the_error_says_what_to_do() {
    let output = davit("127.0.0.1:1", &["ps"]).await;
    assert_eq!(code(&output), Some(3));
    assert_eq!(stdout(&output), "");
    let told = stderr(&output);
    let lines: Vec<_> = told.lines().collect();
    let [waits, error] = lines[..] else { panic!("{told}") };
    assert_eq!(waits, "waiting for a manager at 127.0.0.1:1: connection refused");
    assert!(error.starts_with("error: can't reach a manager at 127.0.0.1:1 ("), "{told}");
    assert!(error.contains("davit dev"), "{told}");
}

/// What `davit` writes first to standard output when a manager comes to be at its address only after it was dialled.
async fn first_line_of_late(manager: &str, line: &[&str]) -> Option<String> {
    // The port is taken, and nobody listens there yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let late = socket.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.args(line).env("DAVIT_MANAGER", &late).stdin(Stdio::null()).kill_on_drop(true);
    let mut davit = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(davit.stderr.take().unwrap()).lines();
    let mut written = BufReader::new(davit.stdout.take().unwrap()).lines();
    let waits = tokio::time::timeout(LONGEST, told.next_line()).await.unwrap().unwrap();
    assert_eq!(waits, Some(format!("waiting for a manager at {late}: connection refused")), "{line:?}");
    let back = socket.listen(1).unwrap();
    let passes_on = async {
        let (mut near, _) = back.accept().await.unwrap();
        let mut far = TcpStream::connect(manager).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        first = tokio::time::timeout(LONGEST, written.next_line()) => first.unwrap().unwrap(),
        () = passes_on => None,
    }
}

#[tokio::test]
async fn a_manager_that_is_not_back_yet_is_waited_for() {
    let (cluster, manager) = start("late").await;
    for line in [
        &["run", "-d", "--process", "sleep", "600"][..],
        &["ps", "-q"],
        &["events", "-f", "--since", "0"],
        &["stop", "sleep"],
    ] {
        let first = first_line_of_late(&manager, line).await;
        assert!(first.is_some_and(|first| !first.is_empty()), "{line:?}");
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    for line in [&["fly"][..], &["run"], &["ps", "--state", "up"], &["--manager", "nowhere", "ps"]] {
        assert_eq!(code(&davit("127.0.0.1:1", line).await), Some(2), "{line:?}");
    }
}

#[tokio::test]
async fn completion_needs_no_manager() {
    let output = davit("127.0.0.1:1", &["completion", "bash"]).await;
    assert_eq!(code(&output), Some(0));
    assert!(stdout(&output).contains("_davit()"));
}

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

    let output = davit(&manager, &["inspect", "batch"]).await;
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

#[tokio::test]
async fn what_if_is_answered_without_creating_anything() {
    let (cluster, manager) = start("explain").await;
    let output = davit(&manager, &["explain", "--process", "--cpus", "0.01", "--count", "4"]).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    assert!(shown.starts_with("fits 2 of 2 nodes"), "{shown}");
    assert!(shown.contains("RANK   NODE") && shown.contains("All 4 find a place."), "{shown}");

    let too_much = ["explain", "--process", "--memory", "900t"];
    let output = davit(&manager, &too_much).await;
    assert_eq!(code(&output), Some(1));
    assert!(stdout(&output).contains("fits 0 of 2 nodes: 2 lack memory"), "{}", stdout(&output));
    let larger = [&too_much[..], &["--node", "big:cpus=64,memory=999t,disk=1t", "--without", "node-1"]].concat();
    let output = davit(&manager, &larger).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    assert!(shown.starts_with("fits 1 of 2 nodes") && shown.contains("big") && !shown.contains("node-1"), "{shown}");

    let output = davit(&manager, &["explain", "--process", "-o", "json"]).await;
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["explanation"]["fittingCount"], 2, "{answer}");
    assert_eq!(stdout(&davit(&manager, &["ps", "-a", "-q"]).await), "");

    let output = davit(&manager, &["explain", "--process", "--constraint", "zone ~ a"]).await;
    assert_eq!(code(&output), Some(2));
    assert!(stderr(&output).contains("spec.constraints[0]"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

/// What `inspect` says of one thing.
async fn shown_of(manager: &str, task: &str, key: &str) -> String {
    let shown = stdout(&davit(manager, &["inspect", task]).await);
    let value = shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {key} in {shown}")).trim().to_owned()
}

#[tokio::test]
async fn without_an_answer_explain_ends_with_2() {
    let (one, other) =
        tokio::join!(davit("127.0.0.1:1", &["explain", "web"]), davit("127.0.0.1:1", &["explain", "--cpus", "2"]));
    assert_eq!((code(&one), code(&other)), (Some(2), Some(2)));
    let (cluster, manager) = start("no-answer").await;
    let twice = ["explain", "--process", "--node", "node-1:cpus=1", "--without", "node-1"];
    for (line, problem) in [
        (&["explain", "gone"][..], "no task with the id or name `gone`"),
        (&["explain", "--process", "--algorithm", "dice"], "dice"),
        (&twice, "node `node-1` is overridden twice"),
    ] {
        let output = davit(&manager, line).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(2), ""), "{line:?}");
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_task_is_explained_as_it_is_and_as_it_is_not() {
    let (cluster, manager) = start("otherwise").await;
    let waits = ["run", "-d", "--process", "--name", "big", "--memory", "900t", "sleep", "600"];
    assert_eq!(code(&davit(&manager, &waits).await), Some(0));
    let output = davit(&manager, &["explain", "big"]).await;
    assert_eq!(code(&output), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("big ") && stdout(&output).contains(" is PENDING"), "{}", stdout(&output));

    let smaller = ["explain", "big", "--memory", "1m"];
    let output = davit(&manager, &smaller).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    assert!(shown.contains("fits 2 of 2 nodes") && shown.contains("equally good; a seed decides."), "{shown}");
    let output = davit(&manager, &[&smaller[..], &["--constraint", "node.name == node-1"]].concat()).await;
    assert!(stdout(&output).contains("fits 1 of 2 nodes"), "{}", stdout(&output));

    // One on each node: two find a place, unless all three must.
    let three = [&smaller[..], &["--distinct-hosts", "--count", "3"]].concat();
    let output = davit(&manager, &three).await;
    assert_eq!(code(&output), Some(1));
    assert!(stdout(&output).contains("2 of 3 find a place; 1 would wait"), "{}", stdout(&output));
    let output = davit(&manager, &[&three[..], &["--all-or-nothing"]].concat()).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(1));
    assert!(shown.contains("None of 3 finds a place: needs room for all 3 at once, 2 fit"), "{shown}");
    assert!(!shown.contains("WOULD GO TO"), "{shown}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn tasks_that_would_be_stopped_are_named() {
    let (cluster, manager) = start("victims").await;
    let nodes: Value = serde_json::from_str(&stdout(&davit(&manager, &["node", "ls", "-o", "json"]).await)).unwrap();
    let cores = nodes[0]["allocatable"]["cpuMillis"].as_str().unwrap().parse::<f64>().unwrap() / 1000.0;
    let cpus = format!("{:.3}", cores * 0.8);
    let line = ["run", "-d", "--process", "--name", "low", "--count", "2", "--cpus", &cpus, "sleep", "600"];
    assert_eq!(code(&davit(&manager, &line).await), Some(0));
    while running_on(&manager, "node-1").await + running_on(&manager, "node-2").await < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let output = davit(&manager, &["explain", "--process", "--cpus", &cpus, "--priority", "5", "--preempt"]).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    let stopped = shown.lines().skip_while(|line| !line.contains("STOPPED TASKS")).nth(1);
    assert!(stopped.unwrap_or_default().contains("   low "), "{shown}");
    cluster.stop().await.unwrap();
}

async fn node_of(manager: &str, task: &str) -> String {
    shown_of(manager, task, "Node").await
}

#[tokio::test]
async fn a_task_is_moved_and_waited_for() {
    let (cluster, manager) = start("move").await;
    let sleeper = ["run", "-d", "--process", "--name", "web", "sleep", "600"];
    assert_eq!(code(&davit(&manager, &sleeper).await), Some(0));
    assert_eq!(code(&davit(&manager, &["explain", "web"]).await), Some(0));
    while stdout(&davit(&manager, &["ps", "-q", "--state", "running"]).await).is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for node in ["node-1", "node-2", "node-1"] {
        // It may be there already: then there is nothing to do.
        if node_of(&manager, "web").await != node {
            let output = davit(&manager, &["move", "web", node]).await;
            assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        }
        assert_eq!(node_of(&manager, "web").await, node);
        assert!(stdout(&davit(&manager, &["ps"]).await).contains("RUNNING"));
    }
    assert_eq!(code(&davit(&manager, &["node", "cordon", "node-2"]).await), Some(0));
    let output = davit(&manager, &["move", "web", "node-2"]).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("cordoned"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

/// One that sleeps, for tests to take away.
fn a_program(name: &str) -> PathBuf {
    let program = std::env::temp_dir().join(format!("davit-cli-test-{name}-{}.sh", std::process::id()));
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

/// All tasks on node-1, and node-2 empty: `count` processes of this command.
async fn make_uneven(manager: &str, count: usize, command: &[&str]) {
    assert_eq!(code(&davit(manager, &["node", "cordon", "node-2"]).await), Some(0));
    let count_text = count.to_string();
    let line = ["run", "-d", "--process", "--name", "web", "--count", &count_text, "--cpus", "0.1"];
    let output = davit(manager, &[&line[..], command].concat()).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    while running_on(manager, "node-1").await < count {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code(&davit(manager, &["node", "uncordon", "node-2"]).await), Some(0));
}

async fn running_on(manager: &str, node: &str) -> usize {
    stdout(&davit(manager, &["ps", "-q", "--state", "running", "--node", node]).await).lines().count()
}

#[tokio::test]
async fn an_uneven_cluster_is_evened_out() {
    let (cluster, manager) = start("rebalance").await;
    make_uneven(&manager, 6, &["sleep", "600"]).await;

    let shown = stdout(&davit(&manager, &["rebalance"]).await);
    assert!(shown.contains("node-2") && shown.contains("davit rebalance --apply"), "{shown}");
    assert_eq!(running_on(&manager, "node-1").await, 6, "a plan changes nothing");
    let output = davit(&manager, &["rebalance", "--apply", "--budget", "1", "--yes"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("The move was made"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--budget allows more."), "{}", stderr(&output));
    let output = davit(&manager, &["rebalance", "--apply", "--at-once", "2", "--yes"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("All 2 moves were made"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("--budget"), "{}", stderr(&output));
    assert_eq!(running_on(&manager, "node-1").await, 3);
    let shown = stdout(&davit(&manager, &["rebalance"]).await);
    assert!(shown.starts_with("Nothing to move"), "{shown}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_moved_unasked() {
    let (cluster, manager) = start("unasked").await;
    make_uneven(&manager, 4, &["sleep", "600"]).await;
    for line in [&["rebalance", "--apply"][..], &["rebalance", "--apply", "-o", "json"]] {
        let output = davit(&manager, line).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(2), ""), "{line:?}");
        assert!(stderr(&output).contains("pass --yes"), "{}", stderr(&output));
    }
    assert_eq!(running_on(&manager, "node-1").await, 4);

    let output = davit(&manager, &["rebalance", "--apply", "--yes", "-o", "json"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let done: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(done["plan"]["moves"].as_array().unwrap().len(), 2, "{done}");
    let outcomes: Vec<_> = done["results"].as_array().unwrap().iter().map(|each| &each["outcome"]).collect();
    assert_eq!(outcomes, ["MADE", "MADE"], "{done}");
    assert!(done["imbalanceNow"].as_f64().unwrap() < 0.01, "{done}");

    // Of an even cluster there is the same object, with nothing in it.
    let output = davit(&manager, &["rebalance", "--apply", "--yes", "-o", "json"]).await;
    let done: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((code(&output), &done["results"]), (Some(0), &Value::Array(Vec::new())), "{done}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_first_move_that_fails_is_the_last() {
    let (cluster, manager) = start("failing").await;
    let program = a_program("failing");
    make_uneven(&manager, 6, &[program.to_str().unwrap()]).await;
    // What is not there can't be started on another node.
    std::fs::remove_file(&program).unwrap();

    let output = davit(&manager, &["rebalance", "--apply", "--yes"]).await;
    let told = stderr(&output);
    assert_eq!(code(&output), Some(1), "{told}");
    assert!(told.contains("1 of 3  web") && told.contains("failed: it ended FAILED"), "{told}");
    assert!(told.contains("0 of 3 moves were made. web ") && told.contains("The other 2 were not begun."), "{told}");
    assert!(!told.contains("2 of 3"), "{told}");
    assert_eq!(running_on(&manager, "node-1").await, 5);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn moves_that_take_too_long_go_on() {
    let (cluster, manager) = start("slow").await;
    make_uneven(&manager, 4, &["--stop-grace", "1s", "--", "sh", "-c", "trap '' TERM; sleep 600"]).await;
    let output = davit(&manager, &["rebalance", "--apply", "--yes", "--timeout", "200ms"]).await;
    let told = stderr(&output);
    assert_eq!(code(&output), Some(1), "{told}");
    assert!(told.contains("0 of 2 moves were made so far. 2 moves had not arrived within 0.2 s and go on"), "{told}");
    while running_on(&manager, "node-2").await < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.stop().await.unwrap();
}

/// `davit` as it runs, with what it says until now.
struct Running {
    child: tokio::process::Child,
    said: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
}

impl Running {
    fn start(manager: &str, line: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
        command.args(line).env("DAVIT_MANAGER", manager).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, said }
    }

    /// Reads what it says until there is a line with this text.
    async fn until(&mut self, text: &str) -> String {
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
    async fn interrupt(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    }

    async fn code(mut self) -> Option<i32> {
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
    drain.until("fit nowhere else now").await;
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

const SHOP: &str = "\
services:
  web:
    image: example/web:${TAG:-1}
    depends_on: [db]
    deploy: {replicas: 2}
  db:
    image: example/db:1
";

#[tokio::test]
async fn an_app_is_planned_brought_up_listed_and_taken_down() {
    let (cluster, manager) = start("app").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    std::fs::write(&file, SHOP).unwrap();
    let file = file.to_str().unwrap();
    let plan = ["plan", "-f", file, "-p", "shop"];

    let planned = davit(&manager, &plan).await;
    assert_eq!(code(&planned), Some(2), "{}", stderr(&planned));
    let told = stdout(&planned);
    assert!(told.contains("+ shop_web is created: 2 tasks created\n"), "{told}");
    assert!(told.contains("    + task.container.image: example/web:1\n"), "{told}");
    // No node here has an engine.
    assert!(told.contains("2 of its tasks would find no place: ") && told.contains("runtime"), "{told}");
    assert!(told.ends_with("shop: 2 to create\n"), "{told}");
    let json: Value = serde_json::from_slice(&davit(&manager, &["plan", "-f", file, "--json"]).await.stdout).unwrap();
    assert_eq!(json["deployments"][0]["action"], "PLANNED_ACTION_CREATE");

    let up = davit(&manager, &["up", "-d", "-f", file, "-p", "shop"]).await;
    assert_eq!((code(&up), stdout(&up).as_str()), (Some(0), "shop_db\nshop_web\n"), "{}", stderr(&up));
    let planned = davit(&manager, &plan).await;
    let told = "shop: nothing to change; 2 deployments unchanged\n";
    assert_eq!((code(&planned), stdout(&planned).as_str()), (Some(0), told), "{}", stderr(&planned));
    let apps = stdout(&davit(&manager, &["apps"]).await);
    assert!(apps.contains("shop") && apps.contains("0/3") && apps.contains("IN_PROGRESS"), "{apps}");
    let listed = stdout(&davit(&manager, &["deployment", "ls"]).await);
    assert!(listed.contains("waits for shop_db to be started"), "{listed}");

    let down = davit(&manager, &["down", "-p", "shop"]).await;
    assert_eq!((code(&down), stdout(&down).as_str()), (Some(0), "shop_db\nshop_web\n"), "{}", stderr(&down));
    assert_eq!(stdout(&davit(&manager, &["apps", "-o", "json"]).await), "[]\n");
    assert_eq!(code(&davit(&manager, &["down", "-p", "shop"]).await), Some(1));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn files_that_are_wrong_change_nothing_and_say_where_they_are() {
    let (cluster, manager) = start("app-wrong").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    std::fs::write(
        &file,
        "services: {web: {image: web, secrets: [a], x-davit: {priority: 9999}}}\nsecrets: {a: {external: true}}\n",
    )
    .unwrap();
    for command in ["plan", "up"] {
        let output = davit(&manager, &[command, "-f", file.to_str().unwrap(), "-p", "shop"]).await;
        assert_eq!(code(&output), Some(1), "{}", stderr(&output));
        let told = stderr(&output);
        assert!(told.contains("compose.yaml:1:") && told.contains("services.web."), "{told}");
    }
    assert_eq!(stdout(&davit(&manager, &["apps", "-o", "json"]).await), "[]\n");
    let none = davit(&manager, &["plan", "-f", "/nowhere/compose.yaml"]).await;
    assert_eq!(code(&none), Some(1), "{}", stderr(&none));
    cluster.stop().await.unwrap();
}
