//! The agent: holds the attempts of this node and brings each to where the manager wants it.
//!
//! - [`next_step`], [`assignments`], [`reporter`] and [`retention`] decide and do nothing else.
//! - A task runner per attempt performs the steps; nothing else touches an attempt's instance.
//! - The agent knows no network: a session feeds it assignments and takes reports from it, and may break at any time.

pub mod assignments;
mod held;
pub mod next_step;
mod records;
pub mod reporter;
pub mod retention;
mod task_runner;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::placement::RuntimeKind;
use davit_core::spec::StopPolicy;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState};
use davit_proto::convert::Assignment;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::assignments::{Batch, Follower, Order};
use self::held::{Held, Wanted};
use self::next_step::{Phase, Want};
use self::records::Records;
use self::reporter::{Report, Reporter};
use self::task_runner::{Runner, Start};
use crate::runtime::{Instance, InstanceState, Owner, Runtime, SharedClock};

/// How many instances are created and started side by side: engines become slower with more.
const STARTS_AT_ONCE: usize = 8;
/// How long a runtime may take to list what it has, at the worker's start.
const LIST_TIME: Duration = Duration::from_secs(10);
/// Reasons are cut here: engines can be long-winded, and every status is kept and sent.
const MAX_REASON_BYTES: usize = 2048;

/// An attempt that this worker holds, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalAttempt {
    /// Which.
    pub key: AttemptKey,
    /// The task's name; empty while it is not known.
    pub name: String,
    /// Whether the manager wants it to run; `None` while it has not said.
    pub wanted: Option<DesiredState>,
    /// What is known of it.
    pub status: AttemptStatus,
    /// Whether the manager has that status durably.
    pub acknowledged: bool,
}

/// Where an attempt's output is.
#[derive(Debug)]
pub enum Output {
    /// This worker does not hold the attempt.
    NotHeld,
    /// It has not started.
    NoneYet,
    /// This runtime has it.
    From(Arc<dyn Runtime>),
}

/// Holds the attempts of one owner.
pub struct Agent {
    owner: Owner,
    runtimes: Vec<Arc<dyn Runtime>>,
    clock: SharedClock,
    records: Records,
    retention: Duration,
    starts: Semaphore,
    state: Mutex<State>,
    report_ready: Notify,
    /// Ticks with every status.
    changed: watch::Sender<()>,
    stopped: CancellationToken,
    runners: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<AttemptKey, Held>,
    reporter: Reporter,
    follower: Follower,
    /// The worker goes away: nothing new is begun.
    closing: bool,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// What an agent is made of.
#[derive(Debug)]
pub struct Parts {
    /// Whose attempts it holds.
    pub owner: Owner,
    /// What runs them; one of a kind.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// Where its records are.
    pub records: std::path::PathBuf,
    /// How long ended attempts stay.
    pub retention: Duration,
}

impl Agent {
    /// An agent that has taken up again what an earlier worker of the same owner left.
    ///
    /// # Errors
    /// When its records can't be read.
    pub async fn start(parts: Parts, clock: SharedClock) -> std::io::Result<Arc<Self>> {
        let agent = Arc::new(Self {
            owner: parts.owner,
            runtimes: parts.runtimes,
            clock,
            records: Records::new(parts.records),
            retention: parts.retention,
            starts: Semaphore::new(STARTS_AT_ONCE),
            state: Mutex::default(),
            report_ready: Notify::new(),
            changed: watch::Sender::new(()),
            stopped: CancellationToken::new(),
            runners: TaskTracker::new(),
        });
        agent.adopt().await?;
        agent.runners.spawn({
            let agent = Arc::clone(&agent);
            async move { agent.stopped.run_until_cancelled(agent.sweep()).await }
        });
        Ok(agent)
    }

    /// Whose attempts it holds.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// What runs this kind of specs.
    #[must_use]
    pub fn runtime(&self, kind: RuntimeKind) -> Option<Arc<dyn Runtime>> {
        self.runtimes.iter().find(|runtime| runtime.kind() == kind).cloned()
    }

    /// Finds what earlier workers left: what the runtimes list, and what only the records tell.
    async fn adopt(self: &Arc<Self>) -> std::io::Result<()> {
        let records = self.records.load().await?;
        let mut unheard = records.clone();
        for runtime in &self.runtimes {
            let kind = runtime.kind();
            let listed = match tokio::time::timeout(LIST_TIME, runtime.list()).await {
                Ok(Ok(listed)) => listed,
                Ok(Err(error)) => {
                    tracing::warn!(%kind, %error, "can't list what runs here; it is looked for later");
                    continue;
                }
                Err(_) => {
                    tracing::warn!(%kind, "can't list what runs here in time; it is looked for later");
                    continue;
                }
            };
            let count = listed.len();
            for Instance { key, state } in listed {
                unheard.remove(&key);
                let asked_to_stop = records.get(&key).is_some_and(|record| record.asked_to_stop);
                self.take_up(key, kind, asked_to_stop, &Start::Found(state));
            }
            unheard.retain(|key, record| {
                let missing = record.kind == kind;
                if missing {
                    self.take_up(*key, kind, record.asked_to_stop, &Start::Missing);
                }
                !missing
            });
            if count > 0 {
                tracing::info!(%kind, count, "found attempts of an earlier worker");
            }
        }
        for (key, record) in unheard {
            self.take_up(key, record.kind, record.asked_to_stop, &Start::Unknown);
        }
        Ok(())
    }

    fn take_up(self: &Arc<Self>, key: AttemptKey, kind: RuntimeKind, asked_to_stop: bool, start: &Start) {
        let wanted = Wanted { want: Want::Undecided, spec: None };
        self.hold(&mut self.state.lock(), key, kind, wanted, asked_to_stop, start);
    }

    /// Begins to hold an attempt, with a runner of its own.
    fn hold(
        self: &Arc<Self>,
        state: &mut State,
        key: AttemptKey,
        kind: RuntimeKind,
        wanted: Wanted,
        asked_to_stop: bool,
        start: &Start,
    ) {
        let now = self.clock.now();
        let status = task_runner::first_status(key.attempt, start, asked_to_stop, now);
        let (orders, receiver) = watch::channel(wanted);
        let status = held::renew(None, status, now);
        state.reporter.put(key, status.clone());
        let ended_at = status.state.is_terminal().then_some(now);
        state.held.insert(key, Held { orders, kind, status, ended_at });
        let runner = Runner::new(Arc::clone(self), key, kind, receiver, asked_to_stop, start);
        let stopped = self.stopped.clone();
        self.runners.spawn(async move { stopped.run_until_cancelled(runner.run()).await });
        self.report_ready.notify_one();
    }

    /// A session begins: its full set comes next, and what an earlier one did not bring to an end is sent anew.
    pub fn begin_session(&self) {
        let mut state = self.state.lock();
        state.follower = Follower::new();
        state.reporter.reset();
        drop(state);
        self.report_ready.notify_one();
    }

    /// Takes up what the manager assigns.
    pub fn assign(self: &Arc<Self>, batch: Batch) {
        let mut state = self.state.lock();
        let state = &mut *state;
        // Only what a batch can touch is looked at, unless it ends the full set.
        let ends_full_set = batch.full && batch.last;
        let ended = |held: &Held| held.status.state.is_terminal();
        let held: BTreeMap<AttemptKey, bool> = if ends_full_set {
            state.held.iter().map(|(key, held)| (*key, ended(held))).collect()
        } else {
            let tasks = batch.assignments.iter().map(|assignment| assignment.key.task_id);
            let of_task = |task_id| state.held.range(assignments::first_of(task_id)..=held::last_of(task_id));
            tasks.flat_map(of_task).map(|(key, held)| (*key, ended(held))).collect()
        };
        for order in state.follower.follow(batch, &held) {
            match order {
                Order::Assign(assignment) => self.order(state, *assignment),
                Order::Remove { key, why } => {
                    if let Some(held) = state.held.get(&key) {
                        tracing::debug!(%key, why, "removing an attempt");
                        held.want(Want::Remove, None);
                    }
                }
            }
        }
    }

    fn order(self: &Arc<Self>, state: &mut State, assignment: Assignment) {
        let Assignment { key, desired_state, spec, .. } = assignment;
        let want = match desired_state {
            DesiredState::Running => Want::Run,
            DesiredState::Stopped | DesiredState::Removed => Want::Stop,
        };
        let spec = Arc::new(spec);
        match state.held.get(&key) {
            // What is to be removed or is being stopped for the worker's end stays so.
            Some(held) if held.wants_end() && want == Want::Run => {}
            Some(held) => held.want(want, Some(spec)),
            None if state.closing => {}
            None => {
                let kind = spec.runtime.kind();
                self.hold(state, key, kind, Wanted { want, spec: Some(spec) }, false, &Start::New);
            }
        }
    }

    /// All attempts with their newest status, for a registration; those that the manager needs to hear of come first.
    #[must_use]
    pub fn statuses(&self) -> Vec<(AttemptKey, AttemptStatus)> {
        let state = self.state.lock();
        let mut statuses: Vec<_> = state.held.iter().map(|(key, held)| (*key, held.status.clone())).collect();
        statuses.sort_by_key(|(key, status)| (status.state.is_terminal(), state.reporter.is_acknowledged(*key)));
        statuses
    }

    /// The report to send now, if there is one.
    #[must_use]
    pub fn next_report(&self) -> Option<Report> {
        self.state.lock().reporter.next_report()
    }

    /// A report is durable.
    pub fn acknowledge(&self, report_id: u64) {
        if !self.state.lock().reporter.acknowledge(report_id) {
            tracing::debug!(report_id, "an acknowledgement of no report under way");
        }
        self.report_ready.notify_one();
        self.changed.send_replace(());
    }

    /// Waits until there may be a report to send.
    pub async fn report_ready(&self) {
        self.report_ready.notified().await;
    }

    /// How many attempts run.
    #[must_use]
    pub fn running(&self) -> u32 {
        let state = self.state.lock();
        let runs = |held: &&Held| matches!(held.status.state, TaskState::Running | TaskState::Stopping);
        u32::try_from(state.held.values().filter(runs).count()).unwrap_or(u32::MAX)
    }

    /// How many attempts are in each state.
    #[must_use]
    pub fn count_by_state(&self) -> BTreeMap<TaskState, usize> {
        let mut counts = BTreeMap::new();
        for held in self.state.lock().held.values() {
            *counts.entry(held.status.state).or_default() += 1;
        }
        counts
    }

    /// What it holds, from the first key after `after`.
    #[must_use]
    pub fn local_attempts(&self, after: Option<AttemptKey>, limit: usize) -> Vec<LocalAttempt> {
        let state = self.state.lock();
        let after = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let of = |(key, held): (&AttemptKey, &Held)| LocalAttempt {
            key: *key,
            name: held.name(),
            wanted: held.desired_state(),
            status: held.status.clone(),
            acknowledged: state.reporter.is_acknowledged(*key),
        };
        state.held.range((after, std::ops::Bound::Unbounded)).take(limit).map(of).collect()
    }

    /// What runs this attempt. With `wait`, waits until it has started or ended.
    pub async fn output_of(&self, key: AttemptKey, wait: bool) -> Output {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let held = self.state.lock().held.get(&key).map(|held| (held.kind, held.status.state));
            let Some((kind, state)) = held else { return Output::NotHeld };
            if state >= TaskState::Running {
                return self.runtime(kind).map_or(Output::NotHeld, Output::From);
            }
            if !wait || changed.changed().await.is_err() {
                return Output::NoneYet;
            }
        }
    }

    /// Stops attempts because the worker goes away, and begins no more. Waits until they have ended.
    pub async fn close(&self, which: impl Fn(RuntimeKind) -> bool) {
        {
            let mut state = self.state.lock();
            state.closing = true;
            for held in state.held.values().filter(|held| which(held.kind) && held.ended_at.is_none()) {
                held.want(Want::Stop, None);
            }
        }
        let ended = |held: &Held| !which(held.kind) || held.ended_at.is_some();
        self.until(|state| state.held.values().all(ended)).await;
    }

    /// Kills what [`Agent::close`] could not stop in time.
    pub async fn kill(&self, which: impl Fn(RuntimeKind) -> bool) {
        let left: Vec<_> = {
            let state = self.state.lock();
            let left = state.held.iter().filter(|(_, held)| which(held.kind) && held.ended_at.is_none());
            left.map(|(key, held)| (*key, held.kind)).collect()
        };
        let how = StopPolicy { signal: "SIGKILL".to_owned(), grace: Duration::ZERO };
        let kills = left.into_iter().map(|(key, kind)| {
            let (runtime, how) = (self.runtime(kind), &how);
            async move {
                tracing::warn!(%key, "killing an attempt that did not stop in time");
                if let Some(runtime) = runtime
                    && let Err(error) = runtime.stop(key, how).await
                {
                    tracing::warn!(%key, %error, "can't kill it");
                }
            }
        });
        futures::future::join_all(kills).await;
    }

    /// Waits until the manager knows everything.
    pub async fn flushed(&self) {
        self.until(|state| state.reporter.is_empty()).await;
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if done(&self.state.lock()) || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends all runners, whatever they are doing; what runs goes on without them.
    pub fn abandon(&self) {
        self.stopped.cancel();
    }

    /// The same, and waits until they have ended.
    pub async fn shut_down(&self) {
        self.abandon();
        self.runners.close();
        self.runners.wait().await;
    }

    /// Removes ended attempts whose retention has passed.
    async fn sweep(&self) {
        let period = (self.retention / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let state = self.state.lock();
            // What the manager does not know yet stays: it might ask for the attempt again.
            let ended = state.held.iter().filter(|(key, _)| state.reporter.is_acknowledged(**key));
            let ended = ended.filter_map(|(key, held)| Some((held.ended_at?, *key))).collect();
            for key in retention::expired(ended, self.clock.now(), self.retention) {
                if let Some(held) = state.held.get(&key) {
                    held.want(Want::Remove, None);
                }
            }
        }
    }

    /// Takes down what a runner saw of its attempt.
    fn observe(&self, key: AttemptKey, change: impl FnOnce(&mut AttemptStatus)) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let Some(held) = state.held.get_mut(&key) else { return };
        let mut next = held.status.clone();
        change(&mut next);
        truncate(&mut next.reason);
        if next == held.status || next.state.rank() < held.status.state.rank() {
            return;
        }
        let next = held::renew(Some(&held.status), next, now);
        if next.state != held.status.state {
            tracing::info!(
                task_id = %key.task_id, attempt = key.attempt.0, state = %next.state, reason = next.reason, "attempt"
            );
        }
        if next.state.is_terminal() {
            held.ended_at.get_or_insert(now);
        }
        held.status = next.clone();
        state.reporter.put(key, next);
        drop(state);
        self.report_ready.notify_one();
        self.changed.send_replace(());
    }

    /// Nothing is left of an attempt.
    fn forget(&self, key: AttemptKey) {
        let mut state = self.state.lock();
        state.held.remove(&key);
        state.reporter.forget(key);
        drop(state);
        self.changed.send_replace(());
    }

    /// Whether an earlier attempt of the task has not ended here.
    fn earlier_runs(&self, key: AttemptKey) -> bool {
        let state = self.state.lock();
        let mut earlier = state.held.range(assignments::first_of(key.task_id)..key);
        earlier.any(|(_, held)| held.ended_at.is_none())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn truncate(reason: &mut String) {
    if reason.len() > MAX_REASON_BYTES {
        let mut end = MAX_REASON_BYTES - '…'.len_utf8();
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        reason.push('…');
    }
}

/// Whether an instance of this state is one that runs.
fn started(state: &InstanceState) -> Phase {
    match state {
        InstanceState::Created => Phase::Created,
        InstanceState::Running(_) => Phase::Started,
        InstanceState::Exited(_) => Phase::Exited,
    }
}
