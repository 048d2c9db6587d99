//! The contract on the fake, and the orders that only it takes.

use std::sync::Arc;
use std::time::Duration;

use davit_core::spec::{Probe, ProcessSpec, RuntimeSpec, TaskSpec};
use worker_svc::runtime::fake::Step;
use worker_svc::runtime::{ErrorKind, FakeEngine, Owner, Probed, Runtime, RuntimeKind};

use crate::harness::{Kind, Script, Shows, check, clock, task};
use crate::suite::runtime_contract;

struct Fake(FakeEngine);

impl Fake {
    fn new() -> Self {
        Self(FakeEngine::new(clock()))
    }
}

impl Kind for Fake {
    fn runtime(&self, owner: Owner) -> Arc<dyn Runtime> {
        Arc::new(self.0.runtime(owner, RuntimeKind::Docker))
    }

    fn spec(&self, script: Script) -> TaskSpec {
        match script {
            Script::Exit(code) => ordered(&[("run_for_ms", "20"), ("exit_code", &code.to_string())]),
            Script::Print(lines) => ordered(&[("run_for_ms", "20"), ("log", &lines.join("|"))]),
            Script::Run => ordered(&[("log", "ready")]),
            Script::IgnoreStop => ordered(&[("log", "ready"), ("ignores_stop", "true")]),
            Script::FailStart => ordered(&[("start_fails", "no-such-program: not found")]),
        }
    }

    fn probed(&self, shows: Shows) -> (TaskSpec, Probe) {
        let spec = match shows {
            Shows::Healthy => ordered(&[]),
            Shows::Failing => ordered(&[("unhealthy_after_ms", "0")]),
            Shows::Nothing => ordered(&[("probe_ms", "600000")]),
        };
        (spec, Probe::Tcp { port: 80 })
    }
}

fn ordered(orders: &[(&str, &str)]) -> TaskSpec {
    let process = ProcessSpec { command: vec!["fake".to_owned()], env: Default::default(), working_dir: String::new() };
    let labels = orders.iter().map(|(order, value)| (format!("fake.{order}"), (*value).to_owned())).collect();
    TaskSpec { labels, ..task(RuntimeSpec::Process(process)) }
}

runtime_contract!(Fake::new());

#[tokio::test]
async fn an_engine_that_is_down_is_unavailable_and_keeps_its_tasks() {
    let fake = Fake::new();
    let engine = fake.0.clone();
    check(fake, |bench| async move {
        let key = bench.start_ready(Script::Run).await;
        engine.set_down(Some("out of order"));
        let error = bench.runtime.list().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("out of order"), "{error}");
        engine.set_down(None);
        assert_eq!(engine.running(&bench.owner), [key]);
        // A worker that is started again finds it.
        let restarted = bench.kind.runtime(bench.owner.clone());
        assert_eq!(restarted.list().await.unwrap(), bench.runtime.list().await.unwrap());
        assert!(engine.end(&bench.owner, key, 3));
        assert_eq!(restarted.wait(key).await.unwrap().exit_code, 3);
        assert!(engine.calls().iter().any(|call| call.step == Step::Wait && call.key == Some(key)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn paused_time_runs_its_tasks() {
    check(Fake::new(), |bench| async move {
        let before = tokio::time::Instant::now();
        let (_, exit) = bench.run(ordered(&[("run_for_ms", "50000"), ("exit_code", "4")])).await;
        assert_eq!(exit.exit_code, 4);
        assert!(before.elapsed() >= Duration::from_secs(50));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn probes_show_what_the_orders_say_and_a_test_says_otherwise() {
    let fake = Fake::new();
    let engine = fake.0.clone();
    check(fake, |bench| async move {
        let orders = ordered(&[("healthy_after_ms", "5000"), ("unhealthy_after_ms", "9000")]);
        let (key, _) = bench.start(orders).await;
        let mut healthy = Vec::new();
        for _ in 0..12 {
            healthy.push(bench.probe(key, &Probe::Tcp { port: 80 }).await == Probed::Healthy);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let at: Vec<_> =
            healthy.iter().enumerate().filter(|(_, healthy)| **healthy).map(|(second, _)| second).collect();
        assert_eq!(at, [5, 6, 7, 8]);
        assert!(engine.set_probed(&bench.owner, key, &Probed::Healthy));
        assert_eq!(bench.probe(key, &Probe::Tcp { port: 80 }).await, Probed::Healthy);
    })
    .await;
}
