//! Probes of an attempt that runs, for as long as it is watched.

pub mod judge;

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::spec::{HealthCheck, TaskSpec};
use davit_core::task::AttemptStatus;
use jiff::Timestamp;

use self::judge::{Judge, Verdict};
use super::Agent;
use super::local_restart::Contact;
use super::next_step::Want;
use super::out_of_reach::LONGEST_WAIT;
use super::status::{set_not_ready, set_ready};
use crate::local_store::Unhealthy;
use crate::runtime::{Error, ErrorKind, Probed, Runtime};

/// What has run for so long when its health is first looked after was another worker's before.
const LATE_AFTER: Duration = Duration::from_secs(5);

/// How many probes a worker has under way at once.
pub(super) const PROBES_AT_ONCE: usize = 128;

/// The health of an attempt that has a check. Kept apart: most have none.
#[derive(Debug)]
pub(super) struct Health {
    spec: Arc<TaskSpec>,
    /// When the run began that is judged, by the node's clock.
    run: Timestamp,
    judge: Judge,
}

impl Health {
    /// Of the run that began at this time, and is known to be ready or not.
    fn new(agent: &Agent, spec: Arc<TaskSpec>, run: Timestamp, is_ready: bool) -> Self {
        let age = Duration::try_from(agent.now().duration_since(run)).unwrap_or_default();
        let began = agent.uptime().saturating_sub(age);
        Self { spec, run, judge: Judge::new(began, is_ready, age >= LATE_AFTER) }
    }

    /// Keeps the health of what runs now. There is none of what has no check.
    pub(super) fn keep(kept: &mut Option<Box<Self>>, agent: &Agent, key: AttemptKey, spec: Option<&Arc<TaskSpec>>) {
        let Some(spec) = spec.filter(|spec| spec.health_check.is_some()) else { return };
        let Some((run, is_ready)) = agent.run_of(key) else { return };
        if kept.as_ref().is_none_or(|health| health.run != run) {
            *kept = Some(Box::new(Self::new(agent, Arc::clone(spec), run, is_ready)));
        }
    }

    /// Probes again and again, and tells of what changes. Ends once it is unhealthy and may be stopped for it, with the reason.
    pub(super) async fn watch(
        &mut self,
        agent: &Agent,
        key: AttemptKey,
        runtime: &dyn Runtime,
        want: Want,
    ) -> Unhealthy {
        let Self { spec, run, judge } = self;
        let Some(check) = spec.health_check.as_deref() else { return std::future::pending().await };
        loop {
            let delay = judge.next_delay(check, agent.uptime(), (agent.world.fractions)());
            tokio::time::sleep(delay).await;
            let probed = {
                let _turn = agent.probes.next().await;
                runtime.probe(key, &check.probe, check.timeout).await
            };
            match outcome(probed) {
                Outcome::Healthy => {
                    let was_ready = judge.verdict() == Verdict::Ready;
                    judge.succeeded();
                    if !was_ready {
                        agent.observe_health(key, set_ready);
                    }
                }
                Outcome::Failing(problem) => {
                    metrics::counter!("davit_worker_failed_probes_total").increment(1);
                    tracing::debug!(%key, probe = %check.probe, problem, "a probe failed");
                    let before = judge.verdict();
                    match judge.failed(check, agent.uptime()) {
                        Verdict::Ready => {}
                        Verdict::NotYet => agent.observe(key, |status| {
                            // Once is enough: what a check says may be another thing each time.
                            if status.reason.is_empty() {
                                set_not_ready(status, &format!("not ready yet: {} {problem}", check.probe));
                            }
                        }),
                        Verdict::Unhealthy => {
                            let reason = unhealthy(check, &problem, judge.failures());
                            if before != Verdict::Unhealthy {
                                tracing::info!(%key, reason, "an attempt does not serve");
                                agent.observe_health(key, |status| set_not_ready(status, &reason));
                            }
                            if agent.may_stop_unhealthy(want) {
                                return Unhealthy { run: *run, reason };
                            }
                        }
                    }
                }
                Outcome::Unknown(error) => {
                    tracing::debug!(%key, probe = %check.probe, %error, "an attempt can't be probed now");
                }
            }
        }
    }
}

/// What a probe has shown.
enum Outcome {
    Healthy,
    Failing(String),
    /// Nothing: the engine does not answer, or the attempt has ended a moment ago.
    Unknown(Error),
}

fn outcome(probed: Result<Probed, Error>) -> Outcome {
    match probed {
        Ok(Probed::Healthy) => Outcome::Healthy,
        Ok(Probed::Failing(problem)) => Outcome::Failing(problem),
        Err(error) if error.kind() == ErrorKind::Permanent => Outcome::Failing(format!("can't be tried: {error}")),
        Err(error) => Outcome::Unknown(error),
    }
}

/// Why an attempt is stopped.
fn unhealthy(check: &HealthCheck, problem: &str, failures: u32) -> String {
    let times = if failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") };
    format!("unhealthy: {} {problem} ({times})", check.probe)
}

impl Agent {
    /// Takes down whether an attempt serves, and notes it, so that a restarted worker knows.
    fn observe_health(&self, key: AttemptKey, change: impl FnOnce(&mut AttemptStatus)) {
        self.observe(key, change);
        self.note_status(key);
    }

    /// When the attempt was started last, by the node's clock, and whether it is ready.
    pub(super) fn run_of(&self, key: AttemptKey) -> Option<(Timestamp, bool)> {
        let state = self.state.lock();
        let status = &state.held.get(&key)?.status;
        Some((status.started_at?, status.ready))
    }

    /// Waits until what is unhealthy may be stopped.
    pub(super) async fn until_may_stop_unhealthy(&self, want: Want) {
        let mut link = self.link.subscribe();
        while !self.may_stop_unhealthy(want) {
            tokio::select! {
                // To be cut off comes without a word.
                () = tokio::time::sleep(LONGEST_WAIT) => {}
                // The sender is in the agent.
                _ = link.changed() => {}
            }
        }
    }

    /// Whether what is unhealthy may be stopped now. Not what may be another worker's; nor what the manager will decide about in a
    /// moment.
    pub(super) fn may_stop_unhealthy(&self, want: Want) -> bool {
        match want {
            Want::Run | Want::Stop | Want::Remove => !self.link.borrow().has_rival(),
            Want::Undecided => self.contact() == Contact::CutOff,
        }
    }
}
