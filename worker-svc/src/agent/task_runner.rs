//! Performs the steps of one attempt, one after the other, and tells the agent what it sees.
//!
//! A runner may be dropped at any await: what it began is found again by its record and by the runtime's list.

mod steps;

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::placement::RuntimeKind;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::bugs::{self, Bug};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::held::Wanted;
use super::local_restart::{AfterEnd, End, Plan, after_end};
use super::next_step::{AfterFailure, Hold, Phase, Step, View, Want, after_failure, next_step};
use super::status::{Ending, Start, ending, ending_without_exit, set_ended, set_waiting};
use super::{Agent, started};
use crate::engine_turns::EngineTurn;
use crate::local_store::{Mark, Record, Restarts, Unhealthy};
use crate::runtime::{Error, Exit, InstanceState};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Failures of one step in a row.
struct Failures {
    step: Option<Step>,
    tries: u32,
    first: Instant,
    backoff: Backoff,
}

pub(super) struct Runner {
    agent: Arc<Agent>,
    key: AttemptKey,
    kind: RuntimeKind,
    orders: watch::Receiver<Wanted>,
    /// Ticks when any attempt changes.
    ticks: watch::Receiver<()>,
    phase: Phase,
    /// What its record says, or will say.
    mark: Mark,
    /// Whether its runtime may have been asked to start it.
    start_tried: bool,
    /// Why it can't be started.
    failed: Option<String>,
    /// Whether the last step was to look at it, and told.
    looked: bool,
    exit: Option<Exit>,
    /// Why it is stopped, or was, because it does not serve.
    unhealthy: Option<Box<Unhealthy>>,
    /// Only of what has a health check, while it runs.
    health: Option<Box<Health>>,
    restarts: Restarts,
    /// What its restarts are if one takes place that its runtime was asked for and did not answer.
    restart_tried: Option<Restarts>,
    /// What follows the end that was seen last; `None` before it is planned.
    plan: Option<Plan>,
    failures: Failures,
    /// Its turn at the engine, from its creation to its start.
    turn: Option<EngineTurn>,
}

impl Runner {
    pub(super) fn new(
        agent: Arc<Agent>,
        key: AttemptKey,
        orders: watch::Receiver<Wanted>,
        record: &Record,
        start: Start,
    ) -> Self {
        let Record { kind, mark, restarts, .. } = *record;
        let phase = match &start {
            _ if record.end().is_some() => Phase::Ended,
            Start::New => Phase::New,
            // It never ran: its creation was as far as it came.
            Start::Missing if mark == Mark::Create => Phase::New,
            Start::Unknown => Phase::Unknown,
            // Their end is in their first status.
            Start::Missing | Start::Found(InstanceState::Exited(_)) => Phase::Ended,
            Start::Found(state) => started(state),
            Start::Ended(..) => Phase::Exited,
        };
        let unhealthy = match &start {
            Start::Found(InstanceState::Running(started)) => record.unhealthy_in(Some(started.started_at)),
            Start::Ended(exit, _) => record.unhealthy_in(exit.started_at),
            Start::Unknown => record.unhealthy_in(None),
            Start::New | Start::Missing | Start::Found(_) => None,
        };
        let unhealthy = unhealthy.cloned().map(Box::new);
        let (exit, plan) = match start {
            Start::Ended(exit, plan) => (Some(exit), Some(plan)),
            Start::New | Start::Found(_) | Start::Missing | Start::Unknown => (None, None),
        };
        let ticks = agent.changed.subscribe();
        let backoff = agent.world.backoff(FIRST_RETRY, LONGEST_RETRY);
        let failures = Failures { step: None, tries: 0, first: Instant::now(), backoff };
        Self {
            agent,
            key,
            kind,
            orders,
            ticks,
            phase,
            mark,
            start_tried: mark != Mark::Create,
            failed: None,
            looked: false,
            exit,
            unhealthy,
            health: None,
            restarts,
            restart_tried: match phase {
                Phase::Exited | Phase::Unknown => record.restart_tried(),
                _ => None,
            },
            plan,
            failures,
            turn: None,
        }
    }

    /// Takes step after step until nothing is left of the attempt, or until the stop.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function holds its arguments twice, here as long as an attempt lasts"
    )]
    pub(super) fn run_until(mut self, stopped: CancellationToken) -> impl Future<Output = ()> + Send {
        async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = self.run() => {}
            }
        }
    }

    async fn run(&mut self) {
        if self.phase == Phase::Ended {
            self.take_back_files().await;
        }
        loop {
            let wanted = self.orders.borrow_and_update().clone();
            self.ticks.borrow_and_update();
            if wanted.want == Want::Stop {
                self.mark = Mark::Stop;
            }
            let after_end = self.after_end(&wanted);
            let view = View {
                want: wanted.want,
                phase: self.phase,
                asked_to_stop: self.asked_to_stop(),
                start_tried: self.start_tried && !bugs::is(Bug::StartsForgotten),
                failed: self.failed.is_some(),
                restart_tried: self.restart_tried.is_some() && !bugs::is(Bug::RestartsForgotten),
                is_unhealthy: self.unhealthy.is_some() && self.agent.may_stop_unhealthy(wanted.want),
                looked: self.looked,
                earlier: self.agent.earlier_running(self.key),
                may_be_overtaken: self.agent.may_be_overtaken(),
                may_run_elsewhere: self.agent.may_run_elsewhere_for(self.key).is_some(),
                is_crowded: self.phase == Phase::Created && self.agent.is_crowded(),
                after_end,
            };
            let decision = next_step(&view);
            tracing::trace!(key = %self.key, step = ?decision.step, why = decision.why, "next step");
            if !matches!(decision.step, Step::Create | Step::Start) {
                self.turn = None;
            }
            let done = match decision.step {
                Step::Look => self.look(&wanted).await,
                Step::Prepare => self.prepare(&wanted).await,
                Step::Create => self.create(&wanted).await,
                Step::Start => self.start(&wanted).await,
                Step::Watch => self.watch(&wanted).await,
                Step::Stop => self.stop(&wanted).await,
                Step::Discard => self.discard().await,
                Step::Restart => self.restart(&wanted).await,
                Step::ReportEnd => Ok(self.report_end().await),
                Step::Remove => self.remove(&wanted).await,
                Step::Wait => Ok(self.wait().await),
                Step::Hold(hold) => Ok(self.hold(hold).await),
                Step::Done => return self.agent.forget(self.key),
            };
            self.looked = decision.step == Step::Look && done.is_ok();
            match done {
                Ok(phase) => {
                    self.phase = phase;
                    // To have looked or begun anew between two tries is not to have got on.
                    if self.failures.step == Some(decision.step) {
                        self.failures.step = None;
                    }
                }
                Err(error) => self.fail(decision.step, &error).await,
            }
        }
    }

    fn asked_to_stop(&self) -> bool {
        self.mark == Mark::Stop
    }

    async fn report_end(&mut self) -> Phase {
        let exit = self.exit.take();
        let asked_to_stop = self.asked_to_stop();
        let ending = match (&exit, self.failed.take()) {
            (Some(exit), _) => ending(exit, asked_to_stop, self.unhealthy.as_deref()),
            (None, Some(reason)) if !asked_to_stop => Ending { state: TaskState::Failed, reason },
            (None, _) => ending_without_exit(self.phase == Phase::Exited, asked_to_stop),
        };
        let (now, stop_reason) = (self.agent.now(), self.orders.borrow().stop_reason);
        let change = |status: &mut AttemptStatus| {
            set_ended(status, ending, exit.as_ref(), now);
            if status.state == TaskState::Stopped && !stop_reason.is_empty() {
                stop_reason.clone_into(&mut status.reason);
            }
        };
        self.agent.observe_end(self.key, change).await;
        self.take_back_files().await;
        Phase::Ended
    }

    /// What has ended for good needs its configs and secrets no more.
    async fn take_back_files(&mut self) {
        let has_files = self.orders.borrow().spec.as_ref().is_some_and(|spec| !spec.files().is_empty());
        if let Some(runtime) = self.agent.runtime(self.kind).filter(|_| has_files)
            && let Err(error) = runtime.take_back(self.key).await
        {
            tracing::warn!(key = %self.key, %error, "configs and secrets of an attempt that ended stay until it is removed");
        }
    }

    /// What to do about its end now, if it ended by itself.
    fn after_end(&mut self, wanted: &Wanted) -> AfterEnd {
        let (Phase::Exited, Some(exit), Some(spec)) = (self.phase, &self.exit, &wanted.spec) else {
            return AfterEnd::Report;
        };
        if self.asked_to_stop() {
            return AfterEnd::Report;
        }
        let planned = self.plan.is_some();
        let plan = self.plan.get_or_insert_with(|| {
            let (restarts, unhealthy) = (self.restarts, self.unhealthy.as_deref());
            let end = End { attempt: self.key.attempt, exit, restarts, unhealthy };
            self.agent.plan(&spec.restart, &end)
        });
        let decided = after_end(plan, self.agent.contact(), self.agent.may_restart(spec), self.agent.uptime());
        if decided == AfterEnd::Hold && !planned {
            let plan = plan.clone();
            self.observe(|status| set_waiting(status, &plan));
        }
        decided
    }

    async fn wait(&mut self) -> Phase {
        let due = match (self.phase, &self.plan) {
            (Phase::Exited, Some(Plan::Restart { due, .. })) => Some(*due),
            _ => None,
        };
        tokio::select! {
            () = changed(&mut self.orders) => {}
            () = self.agent.until_restart(due.unwrap_or_default()), if due.is_some() => {}
        }
        self.phase
    }

    /// Says what its start waits for, and waits until that may be over.
    async fn hold(&mut self, hold: Hold) -> Phase {
        let reason = match hold {
            Hold::Earlier(earlier) => format!("waits for attempt {} to end", earlier.0),
            Hold::Manager => "waits for the manager, which was out of reach, to say that it is still to run".to_owned(),
            Hold::Lease => {
                "its node's worker was started anew; it begins when the lease of the one before has ended".to_owned()
            }
            Hold::Room => "waits for room that is taken up by what is being stopped here".to_owned(),
        };
        self.observe(|status| status.reason = reason);
        let over = async {
            match hold {
                Hold::Manager => self.agent.until_it_stands().await,
                Hold::Lease => self.agent.until_alone(self.key).await,
                // Whoever changes ends it.
                Hold::Earlier(_) | Hold::Room => drop(self.ticks.changed().await),
            }
        };
        tokio::select! {
            () = changed(&mut self.orders) => {}
            () = over => {}
        }
        self.phase
    }

    /// Takes in that a step failed: waits before it is tried again, or goes another way.
    async fn fail(&mut self, step: Step, error: &Error) {
        if self.failures.step != Some(step) {
            self.failures.step = Some(step);
            self.failures.tries = 0;
            self.failures.first = Instant::now();
            self.failures.backoff.reset();
        }
        self.failures.tries += 1;
        let tries = self.failures.tries;
        let (first, key) = (tries == 1, self.key);
        if let Some(turn) = self.turn.take() {
            turn.failed(error);
        }
        match after_failure(step, error, tries, self.failures.first.elapsed()) {
            AfterFailure::Continue(phase) => {
                if step == Step::Restart {
                    tracing::warn!(%key, %error, "an attempt can't be restarted; its end is final");
                    self.plan = Some(Plan::Report);
                }
                self.phase = phase;
            }
            AfterFailure::Fail => self.failed = Some(error.to_string()),
            AfterFailure::Retry => {
                if first {
                    tracing::warn!(%key, ?step, %error, "a step failed; it is tried again");
                } else {
                    tracing::debug!(%key, ?step, %error, tries, "a step failed again");
                }
                if matches!(step, Step::Prepare | Step::Create | Step::Start) {
                    let reason = error.to_string();
                    self.observe(|status| status.reason = reason);
                }
                metrics::counter!("davit_worker_step_failures_total").increment(1);
                let delay = self.failures.backoff.next_delay();
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = changed(&mut self.orders) => {}
                }
            }
        }
    }

    fn observe(&self, change: impl FnOnce(&mut AttemptStatus)) {
        self.agent.observe(self.key, change);
    }
}

/// Waits for other orders; for ever when nobody can give any.
async fn changed(orders: &mut watch::Receiver<Wanted>) {
    if orders.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of<F: Future>(_: impl FnOnce(Runner, CancellationToken) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_is_kept_for_each_attempt_is_small() {
        assert!(bytes_of(Runner::run_until) <= 1280, "{}", bytes_of(Runner::run_until));
    }
}
