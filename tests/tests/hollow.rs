//! `davit-worker --hollow`: many nodes in one process, which a manager takes for what they say they are.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::TaskState::{Completed, Failed, Running};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;

const LIMIT: Duration = Duration::from_secs(40);
const NODES: &str = "20";

async fn until_ready(programs: &Programs, nodes: u64) {
    eventually("all hollow nodes are READY", LIMIT, async || {
        let rows = programs.cluster().await.nodes;
        let ready = rows.iter().find(|row| row.state() == v1::NodeState::Ready).map_or(0, |row| row.count);
        if ready == nodes { Ok(()) } else { Err(rows) }
    })
    .await;
}

async fn create(programs: &Programs, count: u32, mode: v1::RestartMode) {
    let container = v1::ContainerSpec { image: "none".to_owned(), ..Default::default() };
    let spec = v1::TaskSpec {
        name: "pretends".to_owned(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        restart_policy: Some(v1::RestartPolicy { mode: mode.into(), ..Default::default() }),
        ..Default::default()
    };
    let group = v1::TaskGroup { spec: Some(spec), count: Some(count), all_or_nothing: false };
    let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
    programs.tasks().batch_create_tasks(request).await.unwrap();
}

async fn tasks(programs: &Programs) -> Vec<v1::Task> {
    let request = v1::ListTasksRequest { page_size: 1000, ..Default::default() };
    programs.tasks().list_tasks(request).await.unwrap().into_inner().tasks
}

fn state(task: &v1::Task) -> v1::TaskState {
    task.status.as_ref().unwrap().state()
}

#[tokio::test(flavor = "multi_thread")]
async fn hollow_nodes_join_under_names_of_their_own_take_tasks_and_die_with_their_process() {
    let programs = Programs::start("davit-hollow", &[]).await;
    let worker = programs.worker_with(&["--name", "hollow", "--hollow", NODES]);
    until_ready(&programs, 20).await;
    programs.until_node("is there", "hollow-0", |_| true).await;
    programs.until_node("is there", "hollow-19", |_| true).await;
    create(&programs, 200, v1::RestartMode::Always).await;
    eventually("all tasks run, some on every node", LIMIT, async || {
        let tasks = tasks(&programs).await;
        let running = tasks.iter().filter(|task| state(task) == Running);
        let nodes: std::collections::BTreeSet<_> =
            running.clone().map(|task| &task.status.as_ref().unwrap().node_id).collect();
        if (running.count(), nodes.len()) == (200, 20) { Ok(()) } else { Err(tasks.len()) }
    })
    .await;
    worker.kill().await;
    programs.until_node("is missed", "hollow-7", |node| node.state() == v1::NodeState::Down).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hollow_tasks_complete_after_their_time_and_as_many_fail_as_were_asked_for() {
    let programs = Programs::start("davit-hollow-ends", &[]).await;
    let flags = ["--hollow-run-time", "100ms", "--hollow-start-time", "10ms", "--hollow-failure-percent", "50"];
    let worker = programs.worker_with(&[&["--name", "hollow", "--hollow", NODES][..], &flags].concat());
    until_ready(&programs, 20).await;
    create(&programs, 200, v1::RestartMode::Never).await;
    let ended = eventually("all tasks have ended", LIMIT, async || {
        let tasks = tasks(&programs).await;
        if tasks.iter().all(|task| [Completed, Failed].contains(&state(task))) { Ok(tasks) } else { Err(tasks.len()) }
    })
    .await;
    let failed = ended.iter().filter(|task| state(task) == Failed).count();
    assert!((60..=140).contains(&failed), "{failed} of 200 failed");
    assert!(worker.terminate().await.success());
}
