//! Tasks that their node can't begin, since its engine takes requests and answers none while its worker is in touch.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::{Duration, SystemTime};

use davit_proto::v1;
use davit_proto::v1::TaskState::{Preparing, Running, Scheduled, Stopped};
use davit_tests::binaries::Service;
use davit_tests::engine::{Cleared, host_socket, import_image};
use davit_tests::programs::Programs;
use davit_tests::silent_engine::SilentEngine;
use davit_tests::wait::eventually;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(20);
const BEGIN_TIMEOUT: Duration = Duration::from_secs(3);
const FOREVER: &str = "exec sleep 600";

/// A cluster of two nodes of one engine, which the first of them reaches through a socket that can fall silent.
struct Cluster {
    programs: Programs,
    engine: SilentEngine,
    data_dirs: tempfile::TempDir,
    _cleared: Cleared,
}

impl Cluster {
    async fn start(name: &str, flags: &[&str]) -> Self {
        let socket = host_socket();
        import_image(&socket);
        let _cleared = Cleared { socket, label: format!("dev.davit.cluster={name}") };
        let programs = Programs::start(name, flags).await;
        Self { programs, engine: SilentEngine::start(), data_dirs: tempfile::tempdir().unwrap(), _cleared }
    }

    async fn worker(&self, name: &str, socket: &Path) -> Service {
        let worker = self.programs.worker(name, &self.data_dirs.path().join(name), socket, &[]);
        worker.ready().await;
        worker
    }

    /// Has a task placed on a node whose engine hangs without anybody knowing it yet.
    async fn placed_in_vain(&self, node_id: &str) -> String {
        let task = self.programs.create("waits", FOREVER, |_| ()).await;
        let given = |task: &v1::Task| {
            let status = task.status.as_ref().unwrap();
            status.node_id == node_id && [Scheduled, Preparing].contains(&status.state())
        };
        self.programs.until_task("is given to the node", &task, given).await;
        task
    }

    /// Waits until a node says that its engine does not answer, and since when.
    async fn since(&self, node: &str) -> SystemTime {
        let node = self.programs.until_node("has a problem", node, |node| !node.runtime_problems.is_empty()).await;
        assert_eq!(node.state(), v1::NodeState::Ready, "its worker is in touch: {}", node.state_reason);
        node.runtime_problems[0].start_time.unwrap().try_into().unwrap()
    }
}

fn status(task: &v1::Task) -> &v1::TaskStatus {
    task.status.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hung_engine_does_not_begin_within_the_begin_timeout_runs_on_another_node_and_its_history_says_why() {
    let cluster = Cluster::start("davit-unbegun", &["--begin-timeout", "3s"]).await;
    let programs = &cluster.programs;
    let _hung = cluster.worker("hung", &cluster.engine.socket()).await;
    let stays = programs.create("stays", FOREVER, |_| ()).await;
    let node_id = programs.until(&stays, Running).await.node_id;
    cluster.engine.fall_silent();
    let waits = cluster.placed_in_vain(&node_id).await;
    let _other = cluster.worker("other", &host_socket()).await;
    let since = cluster.since("hung").await;

    let moved = programs.until_task("runs anew", &waits, |task| task.attempt == 2 && status(task).state() == Running);
    let moved = moved.await;
    assert_ne!(status(&moved).node_id, node_id);
    let first = moved.past_attempts[0].status.clone().unwrap();
    assert_eq!((first.state(), first.node_id.as_str()), (Stopped, node_id.as_str()), "{first:?}");
    assert!(first.reason.starts_with("node hung can't begin it: its docker runtime can't be used: "), "{first:?}");
    let events = programs.events().await;
    let told = events.iter().find(|event| {
        event.message.starts_with("attempt 1 is stopped: node hung can't begin it: its docker runtime can't be used: ")
    });
    let after = SystemTime::try_from(told.unwrap().time.unwrap()).unwrap().duration_since(since).unwrap();
    assert!(after >= BEGIN_TIMEOUT, "{after:?}");
    // What runs already is left alone, and so is the node's session.
    let stays = programs.task(&stays).await;
    assert_eq!((stays.attempt, status(&stays).state(), &status(&stays).node_id), (1, Running, &node_id));
    assert_eq!(programs.node("hung").await.unwrap().state(), v1::NodeState::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hung_engine_has_not_begun_stays_and_runs_there_if_the_engine_answers_before_the_begin_timeout() {
    let cluster = Cluster::start("davit-unbegun-stays", &["--begin-timeout", "10m"]).await;
    let programs = &cluster.programs;
    let _hung = cluster.worker("hung", &cluster.engine.socket()).await;
    let node_id = programs.node("hung").await.unwrap().node_id;
    cluster.engine.fall_silent();
    let waits = cluster.placed_in_vain(&node_id).await;
    let _other = cluster.worker("other", &host_socket()).await;
    cluster.since("hung").await;
    let noticed = Instant::now();
    let over = || noticed.elapsed() >= BEGIN_TIMEOUT;
    eventually("it has lasted for a while", LIMIT, async || if over() { Ok(()) } else { Err(()) }).await;
    // The other node takes what comes later, so it could take this one too.
    let later = programs.create("later", FOREVER, |_| ()).await;
    assert_ne!(programs.until(&later, Running).await.node_id, node_id);

    cluster.engine.answer();
    programs.until(&waits, Running).await;
    let waits = programs.task(&waits).await;
    assert_eq!((waits.attempt, &status(&waits).node_id), (1, &node_id), "{waits:?}");
}
