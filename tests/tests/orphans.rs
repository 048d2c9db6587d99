//! Containers that nobody looks after, on a real engine: what is the cluster's and nobody's goes, all else stays.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can't go on fails, and tells how long things took"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use davit_proto::v1;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_tests::engine::{Cleared, IMAGE, docker, host_socket, import_image, try_docker};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tokio::time::Instant;

/// What operators are promised.
const PROMISED: Duration = Duration::from_secs(10);
/// Bears what the test made.
const MARK: &str = "test.orphans";

const UNTIL_STOPPED: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

type Labels = BTreeMap<String, String>;

/// The machine's engine, cleared of what this test made there when it ends.
struct Bench {
    socket: PathBuf,
    mark: String,
    _cleared: Cleared,
}

impl Bench {
    fn new() -> Self {
        let socket = host_socket();
        import_image(&socket);
        let mark = format!("{MARK}={}", UuidV7Source.next_uuid());
        let cleared = Cleared { socket: socket.clone(), label: mark.clone() };
        Self { socket, mark, _cleared: cleared }
    }

    /// Has a task run on this node, in a container that bears the mark.
    fn bound_to(&self, node: &str) -> impl FnOnce(&mut v1::TaskSpec) + use<> {
        let constraint = format!("node.name == {node}");
        let label = self.mark.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        move |spec| {
            spec.constraints = vec![constraint];
            spec.labels.extend(label);
        }
    }

    /// Runs a container that ignores the stop signal, with these labels.
    fn run(&self, labels: &Labels) -> String {
        let mut arguments = vec!["run".to_owned(), "--detach".to_owned(), format!("--label={}", self.mark)];
        arguments.extend(labels.iter().map(|(key, value)| format!("--label={key}={value}")));
        arguments.extend([IMAGE, "/bin/busybox", "sleep", "600"].map(str::to_owned));
        docker(&self.socket, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn runs(&self, container: &str) -> bool {
        try_docker(&self.socket, &["inspect", "--format={{.State.Running}}", container])
            .is_ok_and(|state| state == "true")
    }

    fn is_there(&self, container: &str) -> bool {
        try_docker(&self.socket, &["inspect", "--format={{.Id}}", container]).is_ok()
    }

    fn labels_of(&self, container: &str) -> Labels {
        let format = "--format={{range $key, $value := .Config.Labels}}{{$key}}={{$value}}\n{{end}}";
        let listed = docker(&self.socket, &["inspect", format, container]);
        let pairs = listed.lines().filter_map(|line| line.split_once('='));
        let ours = pairs.filter(|(key, _)| key.starts_with("dev.davit."));
        ours.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    async fn until_gone(&self, what: &str, container: &str, began: Instant) {
        eventually(
            &format!("{what} is gone"),
            PROMISED,
            async || if self.is_there(container) { Err(()) } else { Ok(()) },
        )
        .await;
        println!("{what}: gone after {:.1} s", began.elapsed().as_secs_f64());
    }
}

fn with(labels: &Labels, key: &str, value: impl Into<String>) -> Labels {
    let mut labels = labels.clone();
    labels.insert(format!("dev.davit.{key}"), value.into());
    labels
}

fn new_id() -> String {
    UuidV7Source.next_uuid().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_assigned_to_nobody_is_removed_within_ten_seconds_and_nothing_else() {
    let bench = Bench::new();
    let programs = Programs::start(&format!("orphans-{}", new_id()), &[]).await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Two workers on one engine.
    let first = programs.worker("first", dirs[0].path(), &bench.socket, &["--stop-tasks-on-shutdown"]);
    let second = programs.worker("second", dirs[1].path(), &bench.socket, &[]);
    first.ready().await;
    second.ready().await;
    let node_of = |name| programs.node(name);
    let (first_node, second_node) = (node_of("first").await.unwrap(), node_of("second").await.unwrap());
    let on_first = programs.create("on-first", UNTIL_STOPPED, bench.bound_to("first")).await;
    let on_second = programs.create("on-second", UNTIL_STOPPED, bench.bound_to("second")).await;
    for task in [&on_first, &on_second] {
        programs.until(task, v1::TaskState::Running).await;
    }
    let (kept, lost) = (format!("davit-{on_first}-1"), format!("davit-{on_second}-1"));
    let labels = bench.labels_of(&kept);
    assert_eq!(labels["dev.davit.cluster-id"], programs.cluster_id().await);

    let orphans = [
        ("an attempt that was never assigned", with(&labels, "task", new_id())),
        ("a copy of an attempt's container", labels.clone()),
        ("a container that names no attempt", with(&labels, "attempt", "none")),
        ("a container of a node that there is not", with(&labels, "node", new_id())),
    ];
    let strangers = [
        with(&with(&labels, "cluster-id", new_id()), "node", new_id()),
        with(&labels, "cluster", "another"),
        // Of a cluster of the same name it bears another node's id, and no id of this cluster.
        {
            let mut labels = with(&labels, "node", new_id());
            labels.remove("dev.davit.cluster-id");
            labels
        },
    ];
    let strangers: Vec<_> = strangers.iter().map(|labels| bench.run(labels)).collect();
    let orphans = orphans.map(|(what, labels)| (what, bench.run(&labels), Instant::now()));
    for (what, container, began) in &orphans {
        bench.until_gone(what, container, *began).await;
    }
    for container in strangers.iter().chain([&kept, &lost]) {
        assert!(bench.runs(container), "{container} is looked after, or is another cluster's");
    }

    // A worker that dies takes nothing along; the node is not given up while its tasks may be.
    second.kill().await;
    programs.until_node("is down", "second", |node| node.state() == v1::NodeState::Down).await;
    let removal = v1::RemoveNodeRequest { node: second_node.node_id.clone(), force: true };
    programs.nodes().remove_node(removal).await.unwrap();
    bench.until_gone("what a removed node left", &lost, Instant::now()).await;
    assert!(bench.runs(&kept) && strangers.iter().all(|container| bench.runs(container)));
    assert_eq!(programs.node("first").await.unwrap().node_id, first_node.node_id);
    first.terminate().await;
    assert!(!bench.is_there(&kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_left_whose_place_another_took_is_removed_by_the_worker_beside_it() {
    let bench = Bench::new();
    let programs = Programs::start(&format!("orphans-{}", new_id()), &[]).await;
    let dirs = [(); 3].map(|()| WorkerDir::new());
    let beside = programs.worker("beside", dirs[0].path(), &bench.socket, &["--stop-tasks-on-shutdown"]);
    let dies = programs.worker("dies", dirs[1].path(), &bench.socket, &[]);
    beside.ready().await;
    dies.ready().await;
    let waits = v1::NodeLossPolicy {
        action: v1::NodeLossAction::Wait.into(),
        wait: Some(davit_proto::convert::duration_to_proto(Duration::from_secs(600))),
    };
    let bend = bench.bound_to("dies");
    let task = programs.create("left", UNTIL_STOPPED, |spec| {
        bend(spec);
        spec.on_node_loss = Some(waits);
    });
    let task = task.await;
    programs.until(&task, v1::TaskState::Running).await;
    let left = format!("davit-{task}-1");
    let stays = bench.run(&with(&bench.labels_of(&left), "cluster-id", new_id()));
    let before = programs.node("dies").await.unwrap();

    dies.kill().await;
    programs.until_node("is down", "dies", |node| node.state() == v1::NodeState::Down).await;
    // Longer than it takes to have something removed: its task still waits for it.
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(5) {
        assert!(bench.runs(&left), "its node may be back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // Another machine takes its name. It does not reach this engine.
    let data_dir = dirs[2].path().display().to_string();
    let elsewhere = ["--docker", "off", "--process-runtime", "true", "--name", "dies", "--data-dir", &data_dir];
    let successor = programs.worker_with(&elsewhere);
    successor.ready().await;
    let began = Instant::now();
    let after = programs.until_node("is another", "dies", |node| node.node_id != before.node_id).await;
    assert_eq!(after.state(), v1::NodeState::Ready);
    bench.until_gone("what the node before it left", &left, began).await;
    assert!(bench.runs(&stays), "it is another cluster's");
    let task = programs.task(&task).await;
    let lost = task.past_attempts[0].status.as_ref().unwrap();
    assert_eq!((task.attempt, lost.state()), (2, v1::TaskState::Lost), "{task:?}");
    assert!(lost.reason.contains("took over the name of its node"), "{lost:?}");
    beside.terminate().await;
}
