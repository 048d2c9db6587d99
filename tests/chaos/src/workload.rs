//! Users: they create tasks (with request ids, again and again until they are answered), stop some, ask for impossible ones, and
//! write down every answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use davit_proto::v1;
use davit_svc_kit::rng::Rng;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Code;

use crate::api::Api;
use crate::ledger::{Ledger, Wish};
use crate::stamp::Stamp;
use crate::witness::{self, Runtime};

/// How many services are wanted at one time, so that a busy machine can carry them.
const SERVICES: usize = 24;
/// Users that act side by side.
const USERS: u64 = 2;

/// What all users share.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    /// How they reach the manager.
    pub(crate) api: Api,
    /// Where they write down what they are answered.
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    /// Where their tasks leave evidence.
    pub(crate) evidence: PathBuf,
    /// Makes names that no other run had.
    pub(crate) seed: u64,
    names: Arc<AtomicU64>,
}

impl Users {
    /// Users that have done nothing yet.
    pub(crate) fn new(api: Api, ledger: Arc<Mutex<Ledger>>, evidence: PathBuf, seed: u64) -> Self {
        Self { api, ledger, evidence, seed, names: Arc::default() }
    }

    /// Acts until it is told to finish; returns when every request was answered.
    pub(crate) async fn act(self, rng: Rng, finish: watch::Receiver<bool>) {
        let mut users = tokio::task::JoinSet::new();
        for number in 0..USERS {
            let user = User { all: self.clone(), rng: rng.fork(&number.to_string()) };
            users.spawn(user.act(finish.clone()));
        }
        while users.join_next().await.is_some() {}
    }
}

struct User {
    all: Users,
    rng: Rng,
}

impl User {
    async fn act(mut self, mut finish: watch::Receiver<bool>) {
        while !*finish.borrow() {
            let services = self.all.ledger.lock().entries().filter(|entry| entry.is_wanted_service()).count();
            match self.rng.below(100) {
                // Few stops, for a service that is stopped during a fault says nothing about recovery from it.
                _ if services < SERVICES * 3 / 4 => self.create(None).await,
                0..=24 if services < SERVICES => self.create(None).await,
                25..=34 => self.stop().await,
                0..=94 => self.create(Some(self.rng.millis(500, 6000))).await,
                _ => self.create_wrong().await,
            }
            let pause = tokio::time::sleep(self.rng.millis(300, 1500));
            tokio::select! {
                () = pause => {}
                _ = finish.changed() => {}
            }
        }
    }

    async fn create(&mut self, lasts: Option<Duration>) {
        let runtime = if self.rng.percent(50) { Runtime::Container } else { Runtime::Process };
        let wish = Wish { runtime, lonely: lasts.is_none() && self.rng.percent(50), lasts };
        let name = self.name(if lasts.is_some() { "job" } else { "service" });
        let spec = spec(&name, &wish, &self.all.evidence);
        self.all.ledger.lock().asked(&name, wish);
        let request_id = format!("chaos-{}-{name}", self.all.seed);
        loop {
            match self.all.api.create(spec.clone(), &request_id).await {
                Ok(task_id) => {
                    self.all.ledger.lock().created(&name, &task_id);
                    // Some ask once more, although they were answered.
                    if !self.rng.percent(15) {
                        return;
                    }
                }
                Err(status) if is_refusal(status.code()) => {
                    self.all.ledger.lock().violation(format!("a good task, {name}, was refused: {status}"));
                    return;
                }
                Err(status) => self.unanswered(&format!("create {name}"), &status).await,
            }
        }
    }

    async fn create_wrong(&mut self) {
        let name = self.name("wrong");
        let wish = Wish { runtime: Runtime::Process, lonely: false, lasts: None };
        let mut spec = spec(&name, &wish, &self.all.evidence);
        spec.constraints = vec!["disk ~~ ssd".to_owned()];
        let answer = self.all.api.create(spec, "").await;
        let mut ledger = self.all.ledger.lock();
        match answer {
            Ok(_) => ledger.violation(format!("{name} was created")),
            Err(status) if is_refusal(status.code()) && status.code() != Code::InvalidArgument => {
                ledger.violation(format!("{name} was refused with the wrong code: {status}"));
            }
            Err(_) => {}
        }
    }

    async fn stop(&mut self) {
        let candidates: Vec<(String, String)> = {
            let ledger = self.all.ledger.lock();
            let wanted = ledger.entries().filter(|entry| entry.is_wanted_service());
            wanted.filter_map(|entry| Some((entry.name.clone(), entry.task_id()?.to_owned()))).collect()
        };
        let Some((name, task_id)) = self.rng.pick(&candidates).cloned() else { return };
        self.all.ledger.lock().update(&name, "stop", |entry| entry.stop_sent = Some(Stamp::now()));
        loop {
            match self.all.api.stop(&task_id).await {
                Ok(()) => break,
                // An earlier try, whose answer was lost, did it.
                Err(status) if status.code() == Code::FailedPrecondition => break,
                Err(status) if status.code() == Code::NotFound => {
                    self.all.ledger.lock().violation(format!("{name} is lost: its stop was answered {status}"));
                    return;
                }
                Err(status) if is_refusal(status.code()) => {
                    self.all.ledger.lock().violation(format!("the stop of {name} was refused: {status}"));
                    return;
                }
                Err(status) => self.unanswered(&format!("stop {name}"), &status).await,
            }
        }
        let mut ledger = self.all.ledger.lock();
        ledger.update(&name, "stop answered", |entry| entry.stop_answered = Some(Stamp::now()));
    }

    async fn unanswered(&self, what: &str, status: &tonic::Status) {
        self.all.ledger.lock().note(&format!("not answered: {what}: {:?} {}", status.code(), status.message()));
        tokio::time::sleep(self.rng.millis(100, 1000)).await;
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.all.names.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether an answer says for good that nothing was done.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::AlreadyExists | Code::OutOfRange
    )
}

fn spec(name: &str, wish: &Wish, evidence: &std::path::Path) -> v1::TaskSpec {
    let millis = |millis: i64| {
        let nanos = i32::try_from(millis % 1000 * 1_000_000).unwrap_or(0);
        Some(prost_types::Duration { seconds: millis / 1000, nanos })
    };
    let mode = if wish.lasts.is_some() { v1::RestartMode::OnFailure } else { v1::RestartMode::Always };
    let reservation = v1::Resources { cpu_millis: 50, memory_bytes: 16 << 20, disk_bytes: 1 << 20 };
    v1::TaskSpec {
        name: name.to_owned(),
        runtime: Some(witness::runtime_of(wish.runtime, name, evidence, wish.lasts)),
        resources: Some(v1::ResourceRequirements { reservation: Some(reservation), ..Default::default() }),
        // Short waits: it is the faults that are to be measured.
        restart_policy: Some(v1::RestartPolicy {
            mode: mode.into(),
            initial_delay: millis(200),
            max_delay: millis(2000),
            reset_after: millis(5000),
            ..Default::default()
        }),
        on_node_loss: wish
            .lonely
            .then(|| v1::NodeLossPolicy { action: v1::NodeLossAction::StopAndReplace.into(), wait: None }),
        stop_policy: Some(v1::StopPolicy { grace: millis(2000), ..Default::default() }),
        ..Default::default()
    }
}
