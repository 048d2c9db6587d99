//! Nodes whose workers are away: in order and for a while, for too long, or in the middle of a drain.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::NodeState::{Down, Ready, Suspect};
use davit_proto::v1::TaskState::{Lost, Running};
use davit_svc_kit::clock::{Clock as _, SystemClock};
use davit_tests::binaries::{Service, path_of};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;

const LIMIT: Duration = Duration::from_secs(40);
/// A worker that dies without a word is missed after three heartbeats; this is longer.
const MISSED: Duration = Duration::from_secs(3);

struct Cluster {
    programs: Programs,
    data_dirs: WorkerDir,
    /// What runs ends when this is gone: it outlives its worker.
    alive: tempfile::NamedTempFile,
}

impl Cluster {
    async fn start(name: &str) -> Self {
        let programs = Programs::start(name, &["--heartbeat-period", "500ms"]).await;
        let (data_dirs, alive) = (WorkerDir::new(), tempfile::NamedTempFile::new().unwrap());
        Self { programs, data_dirs, alive }
    }

    async fn worker(&self, name: &str, more: &[&str]) -> Service {
        self.programs.process_worker(name, &self.data_dirs.path().join(name), more).await
    }

    /// Runs a task, which is bent first.
    async fn run(&self, name: &str, bend: impl FnOnce(&mut v1::TaskSpec)) -> String {
        let script = format!("while [ -e {} ]; do sleep 0.1; done", self.alive.path().display());
        let task = self.programs.create_process(name, &script, bend).await;
        self.programs.until(&task, Running).await;
        task
    }

    async fn until_state(&self, name: &str, state: v1::NodeState) -> v1::Node {
        self.programs.until_node(&format!("is {state:?}"), name, |node| node.state() == state).await
    }
}

fn state_since(node: &v1::Node) -> SystemTime {
    node.state_time.unwrap().try_into().unwrap()
}

fn is_lost(event: &v1::Event) -> bool {
    let Some(v1::event::Object::Task(task)) = &event.object else { return false };
    let past = task.past_attempts.iter().filter_map(|past| past.status.as_ref());
    past.chain(&task.status).any(|status| status.state() == Lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_in_order_and_back_within_its_away_time_disturbs_nothing() {
    let cluster = Cluster::start("davit-away").await;
    let worker = cluster.worker("away", &["--away-time", "5m"]).await;
    let task = cluster.run("stays", |_| ()).await;
    let before = cluster.programs.task(&task).await;
    let _other = cluster.worker("other", &[]).await;

    assert!(worker.terminate().await.success());
    let node = cluster.until_state("away", Suspect).await;
    assert!(node.state_reason.contains("means to be back soon"), "{}", node.state_reason);
    let missed = SystemClock.now() + MISSED;
    eventually("it is away for long", LIMIT, async || if SystemClock.now() < missed { Err(()) } else { Ok(()) }).await;
    let node = cluster.programs.node("away").await.unwrap();
    assert_eq!((node.state(), node.task_count), (Suspect, 1), "{node:?}");
    // It is given nothing meanwhile.
    let later = cluster.run("later", |_| ()).await;
    assert_ne!(cluster.programs.task(&later).await.status.unwrap().node_id, node.node_id);

    let _worker = cluster.worker("away", &["--away-time", "5m"]).await;
    cluster.until_state("away", Ready).await;
    let after = cluster.programs.task(&task).await;
    assert_eq!((after.attempt, after.past_attempts.len()), (1, 0), "{after:?}");
    let (before, after) = (before.status.unwrap(), after.status.unwrap());
    assert_eq!((after.state(), after.start_time), (Running, before.start_time));
    assert!(!cluster.programs.events().await.iter().any(is_lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stays_away_for_longer_than_its_away_time_is_down_then_and_not_before_and_its_tasks_move() {
    let cluster = Cluster::start("davit-away-long").await;
    let worker = cluster.worker("away", &["--away-time", "4s"]).await;
    let task = cluster.run("moves", |_| ()).await;
    let _other = cluster.worker("other", &[]).await;

    assert!(worker.terminate().await.success());
    let suspect = cluster.until_state("away", Suspect).await;
    let down = cluster.until_state("away", Down).await;
    let after = state_since(&down).duration_since(state_since(&suspect)).unwrap();
    // The word that it is away comes just before the node is SUSPECT for it.
    assert!(after > Duration::from_millis(3500), "{after:?}");
    assert!(down.state_reason.contains("was stopped with its tasks left running"), "{}", down.state_reason);
    let moved = cluster.programs.until_task("runs anew", &task, |task| {
        task.attempt == 2 && task.status.as_ref().is_some_and(|status| status.state() == Running)
    });
    let moved = moved.await;
    assert_ne!(moved.status.unwrap().node_id, down.node_id);
    let first = moved.past_attempts[0].status.clone().unwrap();
    assert_eq!(first.state(), Lost, "{first:?}");
}

/// What `davit` ended with, wrote to its output, and told beside it.
async fn davit(cluster: &Cluster, line: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(path_of("davit"));
    command.args(line).env("DAVIT_MANAGER", cluster.programs.manager().address.to_string());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout, stderr } = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_whose_node_goes_down_ends_with_4_once_its_tasks_are_given_up_and_says_what_became_of_them() {
    let cluster = Cluster::start("davit-drain-down").await;
    let worker = cluster.worker("drained", &[]).await;
    cluster.run("moves", |_| ()).await;
    let bound = |spec: &mut v1::TaskSpec| spec.constraints = vec!["node.name == drained".to_owned()];
    cluster.run("replaced", bound).await;
    let waits = |spec: &mut v1::TaskSpec| {
        bound(spec);
        let wait = Some(duration_to_proto(MISSED));
        spec.on_node_loss = Some(v1::NodeLossPolicy { action: v1::NodeLossAction::Wait.into(), wait });
    };
    cluster.run("waits", waits).await;
    let _other = cluster.worker("other", &[]).await;

    let goes_down = async {
        let node = cluster.programs.until_node("waits for two that fit nowhere else", "drained", |node| {
            node.drain.as_ref().is_some_and(|drain| (drain.moved_count, drain.stuck_count) == (1, 2))
        });
        node.await;
        worker.kill().await;
    };
    let ((code, shown, told), ()) = tokio::join!(davit(&cluster, &["node", "drain", "drained"]), goes_down);
    assert_eq!((code, shown.as_str()), (Some(4), "drained\n"), "{told}");
    let lines = told.lines().collect::<Vec<_>>();
    let [.., one_lost, both_lost, lost, down] = lines[..] else { panic!("it tells too little: {told}") };
    assert!(
        one_lost.contains(" 1 to move, ") && one_lost.contains(" 1 LOST with it"),
        "it waited for the other: {told}"
    );
    assert_eq!(both_lost, "drained: DRAINING: 1 moved, 2 LOST with it", "{told}");
    assert_eq!(lost, "The node went down: 2 tasks were LOST with it. `davit ps` shows where they are.");
    assert!(down.starts_with("Node drained is DOWN: what it had may still run there. "), "{down}");

    // Back, it stops what it had, and is called drained then.
    let _worker = cluster.worker("drained", &[]).await;
    let drained = |node: &v1::Node| node.drain.as_ref().is_some_and(|drain| drain.state() == v1::DrainState::Drained);
    cluster.programs.until_node("is drained", "drained", drained).await;
    let (code, _, told) = davit(&cluster, &["node", "drain", "drained"]).await;
    assert_eq!(code, Some(0), "nothing is left to be moved: {told}");
}
