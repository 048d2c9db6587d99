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
use davit_tests::engine::{IMAGE, docker, host_socket, import_image, try_docker};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
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
}

impl Bench {
    fn new() -> Self {
        let socket = host_socket();
        import_image(&socket);
        Self { socket, mark: format!("{MARK}={}", UuidV7Source.next_uuid()) }
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

impl Drop for Bench {
    fn drop(&mut self) {
        let filter = format!("label={}", self.mark);
        let left = try_docker(&self.socket, &["ps", "--all", "--quiet", "--filter", &filter]).unwrap_or_default();
        for container in left.lines() {
            let _ = try_docker(&self.socket, &["rm", "--force", container]);
        }
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
    let bound_to = |node: &str| {
        let constraint = format!("node.name == {node}");
        let (key, value) = bench.mark.split_once('=').unwrap();
        let label = (key.to_owned(), value.to_owned());
        move |spec: &mut v1::TaskSpec| {
            spec.constraints = vec![constraint];
            spec.labels.extend([label]);
        }
    };
    let on_first = programs.create("on-first", UNTIL_STOPPED, bound_to("first")).await;
    let on_second = programs.create("on-second", UNTIL_STOPPED, bound_to("second")).await;
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
