//! A real engine whose disk is really full: what the worker's collection makes of it. Mounts a small tmpfs, which takes root.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, Revision};
use davit_core::resources::Resources;
use davit_core::spec::{ContainerSpec, PullPolicy, RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Part};
use davit_proto::convert::Assignment;
use davit_svc_kit::clock::{Clock as _, SystemClock};
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_svc_kit::world::World;
use davit_tests::engine::{Engine, IMAGE, docker, try_docker};
use davit_tests::wait::eventually;
use worker_svc::agent::assignments::Batch;
use worker_svc::agent::{Agent, Parts};
use worker_svc::collect::{DiskUse, Limits, collect};
use worker_svc::local_store::{FjallBackend, ImageRecord, LocalStore};
use worker_svc::runtime::{DockerConfig, DockerRuntime, Owner, Runtime as _};

const LIMIT: Duration = Duration::from_secs(30);
/// Of nothing that anybody uses.
const UNUSED: &str = "davit-test/unused:1";
/// As without settings, but for what would have to wait.
const LIMITS: Limits =
    Limits { high_percent: 85, low_percent: 80, min_age: Duration::ZERO, max_age: None, min_ended_age: Duration::ZERO };

/// An agent for which an image was pulled.
async fn agent(engine: &Engine, image: &str, dir: &tempfile::TempDir) -> (Arc<Agent>, Arc<DockerRuntime>) {
    let store = LocalStore::open(Box::new(FjallBackend::new(dir.path().join("store")))).await.unwrap();
    let pulled = ImageRecord { names: [UNUSED.to_owned()].into(), last_used: SystemClock.now() };
    store.note_image(image, |_| Some(pulled));
    let owner = Owner { cluster: "davit-full-engine-disk".to_owned(), node_id: UuidV7Source.node_id() };
    let config = DockerConfig { socket: engine.socket(), ..DockerConfig::default() };
    let runtime = Arc::new(DockerRuntime::new(owner.clone(), config, Arc::new(SystemClock)));
    let parts = Parts {
        node_name: "node".to_owned(),
        owner,
        runtimes: vec![runtime.clone()],
        store,
        retention: Duration::from_secs(3600),
        allocatable: Resources::ZERO,
        lease: Duration::MAX,
        cluster_id: None,
    };
    (Agent::start(parts, World::real()).await, runtime)
}

fn container(command: &str) -> Assignment {
    let container = ContainerSpec {
        command: ["sh", "-c", command].map(str::to_owned).to_vec(),
        pull_policy: PullPolicy::Never,
        ..ContainerSpec::new(IMAGE.parse().unwrap())
    };
    let key = AttemptKey { task_id: UuidV7Source.task_id(), attempt: Attempt::FIRST };
    let spec = TaskSpec::new("full-disk", RuntimeSpec::Container(container));
    Assignment {
        key,
        revision: Revision(1),
        desired_state: DesiredState::Running,
        spec: spec.into(),
        ports: [].into(),
        part: Part::Alone,
    }
}

fn state(agent: &Agent, key: AttemptKey) -> Option<TaskState> {
    let all = agent.local_attempts(None, 9);
    all.into_iter().find(|attempt| attempt.key == key).map(|attempt| attempt.status.state)
}

/// Runs a task to its good end.
async fn complete(agent: &Arc<Agent>, assignment: Assignment) -> AttemptKey {
    let key = assignment.key;
    agent.assign(Batch { full: false, last: false, assignments: vec![assignment], removed: Vec::new() });
    eventually("it has completed", LIMIT, async || match state(agent, key) {
        Some(TaskState::Completed) => Ok(()),
        _ => Err(format!("{:?}", agent.local_attempts(None, 9))),
    })
    .await;
    // The manager knows of its end.
    while let Some(report) = agent.next_report() {
        agent.acknowledge(report.report_id);
    }
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_made_room_on_from_dead_containers_and_unused_images_until_tasks_run_again() {
    let engine = Engine::on_small_disk(128).await;
    let (socket, dir) = (engine.socket(), tempfile::tempdir().unwrap());
    let build = "(mkdir $0/big && busybox head -c 30000000 /dev/urandom > $0/big/file && tar -C $0/big -c . | \
                 docker --host unix://$1 import - $2 && rm -r $0/big)";
    let built = std::process::Command::new("sh").args(["-c", build]).arg(dir.path()).arg(&socket).arg(UNUSED).output();
    assert!(built.unwrap().status.success());
    let image = docker(&socket, &["image", "inspect", "--format", "{{.Id}}", UNUSED]);
    let (agent, runtime) = agent(&engine, &image, &dir).await;
    agent.begin_session(Duration::from_secs(1), None);
    agent.assign(Batch { full: true, last: true, assignments: Vec::new(), removed: Vec::new() });
    let dead = complete(&agent, container("busybox head -c 20000000 /dev/urandom > /big")).await;

    let mut hog = std::fs::File::create(engine.data().join("hog")).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while hog.write_all(&vec![1; size]).is_ok() {}
    }
    let images = runtime.images().unwrap();
    let percent = async || images.disk().await.unwrap().map(DiskUse::percent);
    assert_eq!(percent().await, Some(100));
    let refused = try_docker(&socket, &["create", "--network", "none", IMAGE, "true"]).unwrap_err();
    assert!(refused.contains("no space left on device"), "{refused}");

    // As a worker does it every minute: an engine that has no room at all may not even remove an image.
    eventually("there is room", LIMIT, async || {
        collect(&agent, &LIMITS, SystemClock.now()).await.map_err(|error| error.to_string())?;
        match (percent().await, state(&agent, dead)) {
            (Some(percent), None) if percent < LIMITS.low_percent => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(try_docker(&socket, &["image", "inspect", UNUSED]).is_err(), "nobody used it");
    assert!(agent.pulled_images().is_empty());
    complete(&agent, container("true")).await;
    agent.shut_down().await;
}
