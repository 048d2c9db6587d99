//! Workers and Docker engines that fail, each test on an engine of its own: killed workers, engines that are restarted, hang, or
//! come late.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can't go on fails, and tells how long things took"
)]

use std::time::Duration;

use davit_core::validate::Violations;
use davit_proto::convert::timestamp_from_proto;
use davit_proto::v1;
use davit_proto::v1::TaskState::{Failed, Pending, Running};
use davit_svc_kit::clock::{Clock as _, SystemClock};
use davit_tests::binaries::Service;
use davit_tests::engine::{Engine, docker, import_image};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(40);
/// Within this a node says that its engine does not answer: two calls that are given up, the pauses before them, and some more for
/// a busy machine.
const NOTICED: Duration = Duration::from_secs(20);
const FOREVER: &str = "exec sleep 600";
/// Ends with 7 when it finds a file.
const ENDS: &str = "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 7";

/// One node: an engine, and a worker that comes and goes.
struct Node {
    engine: Engine,
    programs: Programs,
    data_dir: tempfile::TempDir,
}

impl Node {
    async fn on(engine: Engine) -> Self {
        // A worker that is killed has time to come back before its node counts as down.
        let programs = Programs::start("davit-engines", &["--heartbeat-period", "3s"]).await;
        Self { engine, programs, data_dir: tempfile::tempdir().unwrap() }
    }

    fn start_worker(&self) -> Service {
        self.programs.worker("node", self.data_dir.path(), &self.engine.socket(), &[])
    }

    async fn worker(&self) -> Service {
        let worker = self.start_worker();
        worker.ready().await;
        worker
    }

    async fn running(&self, name: &str, script: &str) -> String {
        let task = self.programs.create(name, script, |_| ()).await;
        self.programs.until(&task, Running).await;
        task
    }

    fn inspect(&self, task: &str, attempt: u32, format: &str) -> String {
        let container = format!("davit-{task}-{attempt}");
        docker(&self.engine.socket(), &["inspect", "--format", format, &container])
    }

    /// What tells a container from another that took its place, or from itself started anew.
    fn identity(&self, task: &str) -> String {
        self.inspect(task, 1, "{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}")
    }

    fn let_end(&self, task: &str) {
        let container = format!("davit-{task}-1");
        let _ = docker(&self.engine.socket(), &["exec", &container, "/bin/busybox", "touch", "/tmp/go"]);
    }

    async fn until_noticed(&self) {
        let began = Instant::now();
        let node = self.programs.until_node("has a problem", "node", |node| !node.runtime_problems.is_empty()).await;
        println!("noticed after {:.1} s: {}", began.elapsed().as_secs_f64(), node.runtime_problems[0].problem);
        assert!(began.elapsed() < NOTICED);
        assert_eq!(node.state(), v1::NodeState::Ready, "its worker is in touch: {}", node.state_reason);
    }

    async fn until_well(&self) {
        self.programs.until_node("is well", "node", |node| node.runtime_problems.is_empty()).await;
    }

    /// How many containers there are of a task.
    fn containers(&self, task: &str) -> usize {
        let filter = format!("label=dev.davit.task={task}");
        docker(&self.engine.socket(), &["ps", "--all", "--quiet", "--filter", &filter]).lines().count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_run_on_when_their_worker_is_killed_and_ends_meanwhile_are_told_as_they_were() {
    let node = Node::on(Engine::started(false).await).await;
    let worker = node.worker().await;
    let (stays, ends) = (node.running("stays", FOREVER).await, node.running("ends", ENDS).await);
    let (before, identity) = (node.programs.task(&stays).await, node.identity(&stays));

    worker.kill().await;
    let let_end = SystemClock.now();
    node.let_end(&ends);
    eventually("it ends without a worker", LIMIT, async || {
        match node.inspect(&ends, 1, "{{.State.Running}}").as_str() {
            "false" => Ok(()),
            running => Err(running.to_owned()),
        }
    })
    .await;
    let ended_by = SystemClock.now();
    let worker = node.worker().await;
    let ended = node.programs.until(&ends, Failed).await;
    assert_eq!(ended.exit_code, Some(7), "{ended:?}");
    let finished = timestamp_from_proto(ended.finish_time.unwrap(), "finish_time", &mut Violations::new()).unwrap();
    assert!(finished >= let_end && finished <= ended_by, "the time of the end, not of the report: {finished:?}");
    let after = node.programs.task(&stays).await;
    assert_eq!(after.attempt, 1);
    assert_eq!(after.status.unwrap().start_time, before.status.unwrap().start_time);
    assert_eq!(node.identity(&stays), identity, "nobody touched it");
    assert!(worker.terminate().await.success());
    assert_eq!(node.identity(&stays), identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_keeps_its_containers_may_be_restarted_under_them() {
    let mut node = Node::on(Engine::started(true).await).await;
    let _worker = node.worker().await;
    let stays = node.running("stays", FOREVER).await;
    let ends = node.running("ends", "sleep 6; exit 7").await;
    let identity = node.identity(&stays);
    node.engine.stop().await;
    node.until_noticed().await;
    // It ends while there is no engine.
    let start = node.programs.task(&ends).await.status.unwrap().start_time.unwrap();
    let over = timestamp_from_proto(start, "start_time", &mut Violations::new()).unwrap() + Duration::from_secs(7);
    eventually("it is over", LIMIT, async || if SystemClock.now() < over { Err(()) } else { Ok(()) }).await;
    assert_eq!(node.programs.task(&ends).await.status.unwrap().state(), Running, "nobody knows better");

    node.engine.start().await;
    node.until_well().await;
    let ended = node.programs.until(&ends, Failed).await;
    assert_eq!(ended.exit_code, Some(7), "{ended:?}");
    let after = node.programs.task(&stays).await;
    assert_eq!((after.attempt, after.status.unwrap().state()), (1, Running));
    assert_eq!(node.identity(&stays), identity);
    // The worker goes on: new tasks run.
    node.running("later", FOREVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_an_engine_took_along_are_told_with_their_exit_codes_and_run_anew() {
    let mut node = Node::on(Engine::started(false).await).await;
    let _worker = node.worker().await;
    let script = "trap 'exit 9' TERM; while :; do sleep 0.1; done";
    let policy = v1::RestartPolicy { mode: v1::RestartMode::Always.into(), ..Default::default() };
    let task = node.programs.create("restarts", script, |spec| spec.restart_policy = Some(policy)).await;
    node.programs.until(&task, Running).await;
    node.engine.stop().await;
    node.until_noticed().await;
    node.engine.start().await;
    node.until_well().await;
    let task = node.programs.until_task("runs anew", &task, |task| {
        task.attempt == 2 && task.status.as_ref().is_some_and(|status| status.state() == Running)
    });
    let task = task.await;
    let first = task.past_attempts[0].status.clone().unwrap();
    assert_eq!((first.state(), first.exit_code), (Failed, Some(9)), "{first:?}");
    assert_eq!(node.inspect(&task.task_id, 2, "{{.State.Running}}"), "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_gets_no_tasks_and_what_it_runs_goes_on_when_it_answers_again() {
    let node = Node::on(Engine::started(false).await).await;
    let _worker = node.worker().await;
    let (stays, ends) = (node.running("stays", FOREVER).await, node.running("ends", ENDS).await);
    let identity = node.identity(&stays);
    node.let_end(&ends);
    node.programs.until(&ends, Failed).await;

    node.engine.freeze();
    node.until_noticed().await;
    let waits = node.programs.create("waits", FOREVER, |_| ()).await;
    let waiting = node.programs.until_task("says why it waits", &waits, |task| {
        task.status.as_ref().is_some_and(|status| status.state() == Pending && !status.reason.is_empty())
    });
    println!("it waits: {}", waiting.await.status.unwrap().reason);
    assert_eq!(node.programs.task(&stays).await.status.unwrap().state(), Running, "what is known of it stays");

    node.engine.thaw();
    node.until_well().await;
    node.programs.until(&waits, Running).await;
    let after = node.programs.task(&stays).await;
    assert_eq!((after.attempt, after.status.unwrap().state()), (1, Running));
    assert_eq!(node.identity(&stays), identity);
    for task in [&stays, &ends, &waits] {
        assert_eq!(node.containers(task), 1, "nothing ran twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_waits_for_an_engine_that_comes_late_and_says_so() {
    let mut node = Node::on(Engine::new(false)).await;
    let worker = node.start_worker();
    let told = eventually("it says what it waits for", LIMIT, async || {
        let told = davit_svc_kit::http::check_ready(worker.http).await;
        let told = told.map_err(|problem| problem.to_string()).err().unwrap_or_default();
        if told.contains("docker runtime does not answer") { Ok(told) } else { Err(told) }
    });
    println!("it waits: {}", told.await);
    assert!(node.programs.node("node").await.is_err(), "it has not joined");

    node.engine.start().await;
    import_image(&node.engine.socket());
    worker.ready().await;
    node.running("first", FOREVER).await;
}
