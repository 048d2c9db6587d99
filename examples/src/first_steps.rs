//! The whole path of one task, with every part called by hand: node joins, task is created, scheduler picks, manager commits,
//! worker runs, manager learns how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::TaskId;
use davit_core::node::NodeDescription;
use davit_core::placement::{PortRange, RuntimeKind};
use davit_core::resources::{ResourceRequirements, Resources};
use davit_core::spec::{ProcessSpec, RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Task};
use davit_svc_kit::clock::SystemClock;
use davit_svc_kit::ids::{IdSource, UuidV7Source};
use futures::StreamExt as _;
use manager_svc::commands::{
    Limits, NewTasks, Placement, Registration, apply_reports, commit_placements, create_tasks, register_node,
};
use manager_svc::state::{ClusterState, Draft, KeptEvents, KeyedSpec};
use scheduler_svc::placement::{algorithms, pick, score, select_candidates};
use tokio::sync::watch;
use worker_svc::reexec::Reexec;
use worker_svc::runtime::{AttemptSpec, LogOptions, Owner, ProcessConfig, ProcessRuntime, Runtime, SharedClock};

/// Runs one task through all parts and tells the story, a line a step. The worker keeps its files in `data_dir`, and runs a
/// program as `reexec` says to supervise the task's process.
///
/// # Errors
/// When any part does not do what it should.
pub async fn first_steps(data_dir: &Path, reexec: Reexec) -> Result<Vec<String>, Box<dyn Error>> {
    let mut story = Vec::new();
    let clock: SharedClock = Arc::new(SystemClock);
    let ids = UuidV7Source;

    // A manager that knows nothing yet. Its state changes only through drafts.
    let mut manager = Draft::new(ClusterState::new(KeptEvents::default()), clock.now());

    // A node joins: what its worker would say when it opens a session.
    let node_id = ids.node_id();
    let registration = Registration {
        node_id,
        registration_number: 1,
        worker_run: None,
        draining: false,
        takes_spec_numbers: true,
        description: describe_node(),
        runtime_problems: BTreeMap::new(),
        attempts: Vec::new(),
    };
    let (node, _) = register_node(&mut manager, registration, Duration::from_secs(10))?;
    story.push(format!("node {} joined: {}", node.description.name, node.state));

    // A user creates a task.
    let task_id = ids.task_id();
    let new_tasks =
        NewTasks { spec: KeyedSpec::new(Arc::new(describe_task())), task_ids: vec![task_id], gang_id: None };
    create_tasks(&mut manager, &[new_tasks], None, Limits::NONE)?;
    let task = task_of(&manager, task_id)?;
    story.push(format!("task {} created: {} ({})", task.spec.name, task.status.state, task.status.reason));

    // The scheduler's three steps, each alone.
    let request = manager.state().placement_request(&task, clock.now());
    let nodes: Vec<_> = manager.state().nodes().map(|node| manager.state().node_view(node, None)).collect();
    let selection = select_candidates(&request.requirements, &nodes);
    story.push(format!("scheduler: {}", selection.summary));
    let scores = score(algorithms::find("epvm")?, &request, &nodes);
    for scored in &scores {
        story.push(format!("scheduler: epvm cost of node {} is {:.3}", scored.node_id, scored.score.cost()));
    }
    let costs = scores.iter().map(|scored| (scored.node_id, scored.score.cost()));
    let chosen = pick(costs, 42).ok_or("no node could be picked")?;

    // The manager re-checks the choice against its own state and commits it.
    let placement = Placement { key: task.key(), node_id: chosen };
    let report = commit_placements(&mut manager, &[placement]);
    story.push(format!(
        "manager committed {} placement: {}",
        report.committed,
        task_of(&manager, task_id)?.status.state
    ));

    // A worker runs the attempt, one step at a time.
    let owner = Owner { cluster: "first-steps".to_owned(), node_id };
    let worker = ProcessRuntime::new(&owner, &ProcessConfig::new(data_dir.to_owned(), reexec), clock);
    let attempt = AttemptSpec {
        key: task.key(),
        spec: Arc::clone(&task.spec),
        ports: task.given_ports.clone(),
        env: Vec::new(),
        files: Vec::new(),
    };
    worker.prepare(&attempt, &watch::Sender::new(None)).await?;
    worker.create(&attempt).await?;
    let started = worker.start(attempt.key).await?;
    let running = AttemptStatus {
        state: TaskState::Running,
        ready: true,
        started_at: Some(started.started_at),
        ..AttemptStatus::pending(attempt.key.attempt, "")
    };
    apply_reports(&mut manager, node_id, vec![(task_id, running.clone())]);
    story.push(format!("worker started it: {}", task_of(&manager, task_id)?.status.state));
    let exit = worker.wait(attempt.key).await?;
    let mut lines = worker.logs(attempt.key, LogOptions::default()).await?;
    while let Some(line) = lines.next().await {
        story.push(format!("it wrote: {}", String::from_utf8_lossy(&line?.bytes).trim_end()));
    }

    // The worker reports the end, and the manager knows.
    let state = if exit.exit_code == 0 { TaskState::Completed } else { TaskState::Failed };
    let ended =
        AttemptStatus { state, exit_code: Some(exit.exit_code), finished_at: Some(exit.finished_at), ..running };
    apply_reports(&mut manager, node_id, vec![(task_id, ended)]);
    worker.remove(attempt.key).await?;
    let task = task_of(&manager, task_id)?;
    story.push(format!("manager knows: {}, exit code {}", task.status.state, exit.exit_code));
    story.push(format!("cluster is at revision {}", manager.state().revision()));
    Ok(story)
}

fn task_of(manager: &Draft, task_id: TaskId) -> Result<Arc<Task>, Box<dyn Error>> {
    manager.state().task(task_id).cloned().ok_or_else(|| "the task is gone".into())
}

fn describe_node() -> NodeDescription {
    let capacity = Resources { cpu_millis: 2_000, memory_bytes: 4 << 30, disk_bytes: 50 << 30 };
    NodeDescription {
        name: "node-1".to_owned(),
        address: "127.0.0.1".to_owned(),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        allocatable: capacity,
        capacity,
        runtimes: BTreeSet::from([RuntimeKind::Process]),
        port_range: Some(PortRange::DEFAULT),
        worker_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn describe_task() -> TaskSpec {
    let reservation = Resources { cpu_millis: 500, memory_bytes: 64 << 20, ..Resources::ZERO };
    let command = ["sh", "-c", "echo hello from a davit task"].map(str::to_owned).to_vec();
    TaskSpec {
        resources: ResourceRequirements { reservation, limit: Resources::ZERO },
        ..TaskSpec::new("hello", RuntimeSpec::Process(ProcessSpec::new(command)))
    }
}
