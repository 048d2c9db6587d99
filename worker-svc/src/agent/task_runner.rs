//! Performs the steps of one attempt, one after the other, and tells the agent what it sees.
//!
//! A runner may be dropped at any await: what it began is found again by its record and by the runtime's list.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey};
use davit_core::placement::RuntimeKind;
use davit_core::spec::StopPolicy;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_svc_kit::backoff::Backoff;
use davit_svc_kit::bugs::{self, Bug};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::held::Wanted;
use super::local_restart::{AfterEnd, End, Plan, after_end};
use super::next_step::{
    AfterFailure, Ending, Hold, Phase, Step, View, Want, after_failure, ending, ending_without_exit, next_step,
};
use super::{Agent, started};
use crate::local_store::{self, Mark, Record, Restarts};
use crate::runtime::{AttemptSpec, Error, ErrorKind, Exit, Instance, InstanceState, ProgressSender, Runtime, Started};

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// How a runner comes to its attempt.
#[derive(Debug)]
pub(super) enum Start {
    /// Assigned just now.
    New,
    /// Found at the worker's start, in this state.
    Found(InstanceState),
    /// Found at the worker's start; it ended, and may be restarted here, or a restart may be under way.
    Ended(Exit, Plan),
    /// It has a record, and its runtime has no instance of it.
    Missing,
    /// It has a record, and its runtime does not answer.
    Unknown,
}

/// The status of an attempt at the moment the worker begins to hold it.
pub(super) fn first_status(attempt: Attempt, start: &Start, record: &Record, now: Timestamp) -> AttemptStatus {
    if let Some(end) = record.end() {
        // Whatever became of its instance since.
        return end.status.clone();
    }
    let mark = record.mark;
    let asked_to_stop = mark == Mark::Stop;
    let local_restarts = match start {
        Start::Found(InstanceState::Running(_)) => record.restarts.count,
        _ => record.restarts_seen(),
    };
    let mut status =
        AttemptStatus { state: TaskState::Preparing, local_restarts, ..AttemptStatus::pending(attempt, "") };
    match start {
        Start::New | Start::Found(InstanceState::Created) => {}
        Start::Missing if mark == Mark::Create => {}
        Start::Found(InstanceState::Running(started)) => {
            set_started(&mut status, started);
            if asked_to_stop {
                (status.state, status.ready) = (TaskState::Stopping, false);
            }
        }
        // Its end is not told before it is final.
        Start::Ended(exit, plan) => {
            let ports = record.known.as_ref().map(|known| known.status.ports.clone()).unwrap_or_default();
            set_started(&mut status, &Started { started_at: exit.started_at.unwrap_or(exit.finished_at), ports });
            status.ready = false;
            set_waiting(&mut status, plan);
            if asked_to_stop {
                status.state = TaskState::Stopping;
            }
        }
        Start::Found(InstanceState::Exited(exit)) => {
            set_ended(&mut status, ending(exit, asked_to_stop), Some(exit), now);
        }
        Start::Missing => set_ended(&mut status, ending_without_exit(true, asked_to_stop), None, now),
        Start::Unknown => "its runtime has not told yet what became of it".clone_into(&mut status.reason),
    }
    status
}

fn set_started(status: &mut AttemptStatus, started: &Started) {
    status.state = TaskState::Running;
    status.ready = true;
    status.reason.clear();
    status.pull = None;
    status.ports.clone_from(&started.ports);
    status.started_at = Some(started.started_at);
}

/// It ended, and what follows is not decided.
fn set_waiting(status: &mut AttemptStatus, plan: &Plan) {
    if let Plan::Restart { why, .. } = plan {
        status.ready = false;
        status.reason.clone_from(why);
    }
}

fn set_ended(status: &mut AttemptStatus, ending: Ending, exit: Option<&Exit>, now: Timestamp) {
    status.state = ending.state;
    status.reason = ending.reason;
    status.ready = false;
    status.pull = None;
    status.exit_code = exit.and_then(Exit::known_code);
    status.oom_killed = exit.is_some_and(|exit| exit.oom_killed);
    status.started_at = status.started_at.or(exit.and_then(|exit| exit.started_at));
    status.finished_at = Some(exit.map_or(now, |exit| exit.finished_at));
}

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
    exit: Option<Exit>,
    restarts: Restarts,
    /// What its restarts are if one takes place that its runtime was asked for and did not answer.
    restart_tried: Option<Restarts>,
    /// What follows the end that was seen last; `None` before it is planned.
    plan: Option<Plan>,
    failures: Failures,
    turn: Option<OwnedSemaphorePermit>,
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
            exit,
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

    /// Takes step after step until nothing is left of the attempt.
    pub(super) async fn run(mut self) {
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
                restart_tried: self.restart_tried.is_some(),
                earlier: self.agent.earlier_running(self.key),
                may_be_overtaken: self.agent.may_be_overtaken(),
                is_crowded: self.phase == Phase::Created && self.agent.is_crowded(),
                after_end,
            };
            let decision = next_step(&view);
            tracing::trace!(key = %self.key, step = ?decision.step, why = decision.why, "next step");
            if !matches!(decision.step, Step::Create | Step::Start) {
                self.turn = None;
            }
            let done = match decision.step {
                Step::Look => self.look().await,
                Step::Prepare => self.prepare(&wanted).await,
                Step::Create => self.create(&wanted).await,
                Step::Start => self.start().await,
                Step::Watch => self.watch().await,
                Step::Stop => self.stop(&wanted).await,
                Step::Discard => self.discard().await,
                Step::Restart => self.restart().await,
                Step::ReportEnd => Ok(self.report_end().await),
                Step::Remove => self.remove().await,
                Step::Wait => Ok(self.wait().await),
                Step::Hold(hold) => Ok(self.hold(hold).await),
                Step::Done => return self.agent.forget(self.key),
            };
            match done {
                Ok(phase) => {
                    self.phase = phase;
                    self.failures.step = None;
                }
                Err(error) => self.fail(decision.step, &error).await,
            }
        }
    }

    fn runtime(&self) -> Result<Arc<dyn Runtime>, Error> {
        let missing = || Error::Unsupported { what: format!("this worker has no {} runtime", self.kind) };
        self.agent.runtime(self.kind).ok_or_else(missing)
    }

    fn attempt(&self, wanted: &Wanted) -> Result<AttemptSpec, Error> {
        let missing = || Error::Unsupported { what: "the manager sent no spec".to_owned() };
        let spec = wanted.spec.clone().ok_or_else(missing)?;
        Ok(AttemptSpec { key: self.key, spec, ports: wanted.ports.clone() })
    }

    fn asked_to_stop(&self) -> bool {
        self.mark == Mark::Stop
    }

    /// Notes how far it is, on the disk with `sync`.
    async fn note(&mut self, mark: Mark, sync: bool) -> Result<(), Error> {
        let written = self.agent.store.write(self.key, sync, |record| record.mark = mark).await;
        written.map_err(|error| not_noted("note an attempt", error))
    }

    async fn look(&mut self) -> Result<Phase, Error> {
        let listed = self.runtime()?.list().await?;
        let found = listed.into_iter().find(|instance| instance.key == self.key);
        Ok(match found {
            None if self.mark == Mark::Create => Phase::New,
            None => Phase::Exited,
            Some(Instance { state, .. }) => {
                let phase = started(&state);
                match state {
                    InstanceState::Created => {}
                    InstanceState::Running(started) => match self.restart_tried {
                        Some(restarts) => self.restarted(restarts, &started),
                        None => self.observe(|status| set_started(status, &started)),
                    },
                    InstanceState::Exited(exit) => self.exit = Some(exit),
                }
                phase
            }
        })
    }

    async fn prepare(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let (runtime, attempt) = (self.runtime()?, self.attempt(wanted)?);
        let progress = ProgressSender::new(None);
        let mut seen = progress.subscribe();
        let mut work = runtime.prepare(&attempt, &progress);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    if let Some(pulled) = done? {
                        self.agent.keep_image(pulled);
                    }
                    return Ok(Phase::Prepared);
                }
                // Dropping the work ends a pull that nobody wants any more.
                () = changed(&mut self.orders) => return Ok(self.phase),
                Ok(()) = seen.changed() => {
                    let pull = *seen.borrow_and_update();
                    self.observe(|status| status.pull = pull);
                }
            }
        }
    }

    async fn create(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let (runtime, attempt) = (self.runtime()?, self.attempt(wanted)?);
        if !self.has_turn().await {
            return Ok(self.phase);
        }
        self.note(self.mark, false).await?;
        runtime.create(&attempt).await?;
        Ok(Phase::Created)
    }

    async fn start(&mut self) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        if !self.has_turn().await {
            return Ok(self.phase);
        }
        self.note(Mark::Start, true).await?;
        self.mark = Mark::Start;
        // Its turn and the disk may have taken a while.
        if self.agent.may_be_overtaken() {
            return Ok(self.phase);
        }
        self.start_tried = true;
        let started = runtime.start(self.key).await?;
        self.observe(|status| set_started(status, &started));
        Ok(Phase::Started)
    }

    /// Waits for its turn at the engine; false when another thing is wanted meanwhile. The turn lasts from the creation
    /// to the start, so that of many attempts the first run before the last are created.
    async fn has_turn(&mut self) -> bool {
        if self.turn.is_none() {
            self.turn = tokio::select! {
                biased;
                turn = Arc::clone(&self.agent.starts).acquire_owned() => turn.ok(),
                () = changed(&mut self.orders) => None,
            };
        }
        self.turn.is_some()
    }

    async fn watch(&mut self) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        tokio::select! {
            biased;
            exit = runtime.wait(self.key) => {
                self.exit = Some(exit?);
                Ok(Phase::Exited)
            }
            () = changed(&mut self.orders) => Ok(self.phase),
        }
    }

    async fn stop(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        self.mark = Mark::Stop;
        if let Err(error) = self.note(Mark::Stop, true).await {
            tracing::warn!(key = %self.key, %error, "can't note that an attempt is asked to stop");
        }
        self.observe(|status| {
            (status.state, status.ready) = (TaskState::Stopping, false);
            status.reason.clear();
        });
        let how = wanted.stop_policy();
        match runtime.stop(self.key, &how).await {
            Err(error) if error.kind() == ErrorKind::Permanent => {
                tracing::warn!(key = %self.key, %error, "can't stop an attempt as asked; killing it");
                let kill = StopPolicy { signal: "SIGKILL".to_owned(), grace: how.grace };
                runtime.stop(self.key, &kill).await?;
            }
            done => done?,
        }
        self.exit = Some(runtime.wait(self.key).await?);
        Ok(Phase::Exited)
    }

    /// Looks first: what runs is stopped as it asks for, or goes on.
    async fn discard(&mut self) -> Result<Phase, Error> {
        let has_ended = self.phase == Phase::Exited;
        let seen = self.look().await?;
        if seen == Phase::Started || !(has_ended || seen == Phase::Created) {
            return Ok(seen);
        }
        match self.runtime()?.remove(self.key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        if has_ended {
            // Nothing is left that could be restarted: the end that was seen is final.
            (self.restart_tried, self.plan) = (None, Some(Plan::Report));
            return Ok(Phase::Exited);
        }
        self.start_tried = false;
        Ok(Phase::Prepared)
    }

    async fn report_end(&mut self) -> Phase {
        let exit = self.exit.take();
        let ending = match &exit {
            Some(exit) => ending(exit, self.asked_to_stop()),
            None => ending_without_exit(self.phase == Phase::Exited, self.asked_to_stop()),
        };
        let (now, stop_reason) = (self.agent.now(), self.orders.borrow().stop_reason);
        let change = |status: &mut AttemptStatus| {
            set_ended(status, ending, exit.as_ref(), now);
            if status.state == TaskState::Stopped && !stop_reason.is_empty() {
                stop_reason.clone_into(&mut status.reason);
            }
        };
        self.agent.observe_end(self.key, change).await;
        Phase::Ended
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
            let end = End { attempt: self.key.attempt, exit, restarts: self.restarts };
            self.agent.plan(&spec.restart, &end)
        });
        let decided = after_end(plan, self.agent.contact(), self.agent.may_restart(spec), self.agent.uptime());
        if decided == AfterEnd::Hold && !planned {
            let plan = plan.clone();
            self.observe(|status| set_waiting(status, &plan));
        }
        decided
    }

    /// Starts what has ended once more, within the attempt.
    async fn restart(&mut self) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        if let Some(Plan::Restart { restarts, .. }) = self.plan {
            // First, since it may have been restarted whatever becomes of this worker.
            let written = self.agent.store.write(self.key, true, |record| record.restarts = restarts).await;
            written.map_err(|error| not_noted("note an attempt", error))?;
            let tried_before = self.restart_tried.replace(restarts);
            let started = match runtime.restart(self.key).await {
                Ok(started) => started,
                Err(error) => {
                    if error.kind() != ErrorKind::Unavailable {
                        // This one was answered: it does not take place.
                        self.restart_tried = tried_before;
                    }
                    return Err(error);
                }
            };
            self.restarted(restarts, &started);
            return Ok(Phase::Started);
        }
        Ok(self.phase)
    }

    /// Takes in that it runs once more.
    fn restarted(&mut self, restarts: Restarts, started: &Started) {
        tracing::info!(key = %self.key, restarts = restarts.count, "restarted an attempt while the manager is out of reach");
        self.restarts = restarts;
        (self.exit, self.plan, self.restart_tried) = (None, None, None);
        self.observe(|status| {
            set_started(status, started);
            status.local_restarts = restarts.count;
        });
        self.agent.note_status(self.key);
    }

    async fn remove(&mut self) -> Result<Phase, Error> {
        if let Some(runtime) = self.agent.runtime(self.kind) {
            runtime.remove(self.key).await?;
        }
        self.agent.store.remove(self.key).await.map_err(|error| not_noted("forget an attempt", error))?;
        Ok(Phase::Gone)
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
            Hold::Room => "waits for room that is taken up by what is being stopped here".to_owned(),
        };
        self.observe(|status| status.reason = reason);
        let waits_for_manager = hold == Hold::Manager;
        tokio::select! {
            () = changed(&mut self.orders) => {}
            _ = self.ticks.changed(), if !waits_for_manager => {}
            () = self.agent.until_it_stands(), if waits_for_manager => {}
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
        self.turn = None;
        match after_failure(step, error, tries, self.failures.first.elapsed()) {
            AfterFailure::Continue(phase) => {
                if step == Step::Restart {
                    tracing::warn!(%key, %error, "an attempt can't be restarted; its end is final");
                    self.plan = Some(Plan::Report);
                }
                self.phase = phase;
            }
            AfterFailure::Fail => {
                let ending = Ending { state: TaskState::Failed, reason: error.to_string() };
                let now = self.agent.now();
                self.agent.observe_end(self.key, |status| set_ended(status, ending, None, now)).await;
                self.phase = Phase::Ended;
            }
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

fn not_noted(action: &'static str, error: local_store::Error) -> Error {
    Error::Io { action, source: std::io::Error::other(error) }
}

/// Waits for other orders; for ever when nobody can give any.
async fn changed(orders: &mut watch::Receiver<Wanted>) {
    if orders.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
