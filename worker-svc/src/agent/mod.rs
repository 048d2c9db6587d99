//! The agent: holds the attempts of this node and brings each to where the manager wants it.
//!
//! - [`next_step`], [`assignments`], [`reporter`] and [`orphans`] decide and do nothing else.
//! - A task runner per attempt performs the steps; nothing else touches the instance of an attempt that the agent holds.
//! - The agent knows no network: a session feeds it assignments and takes reports from it, and may break at any time.

mod adopt;
pub mod assignments;
mod closing;
mod counts;
mod environment;
mod files;
pub mod health;
mod held;
mod images;
mod lease;
pub mod local_restart;
mod look;
pub mod next_step;
pub mod orphans;
mod out_of_reach;
pub mod reporter;
pub mod retention;
mod room;
mod status;
mod survey;
mod task_runner;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, ClusterId};
use davit_core::placement::RuntimeKind;
use davit_core::resources::Resources;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState};
use davit_proto::convert::Assignment;
use davit_svc_kit::bugs::{self, Bug};
use davit_svc_kit::world::World;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::adopt::Unfound;
use self::assignments::{Batch, Follower, Order};
use self::counts::Counts;
use self::environment::environment;
pub(crate) use self::files::FileRequest;
use self::files::FileRequests;
use self::held::{Held, Wanted};
use self::local_restart::{Link, Standing};
pub use self::look::{LocalAttempt, Output};
use self::next_step::{Phase, Want};
use self::reporter::{Report, Reporter};
use self::status::Start;
use self::survey::Surveyed;
use self::task_runner::Runner;
use crate::engine_turns::EngineTurns;
use crate::local_store::{LocalStore, Record};
use crate::runtime::{InstanceState, Owner, Runtime};
use crate::turns::Turns;

/// Holds the attempts of one owner.
pub struct Agent {
    owner: Owner,
    node_name: String,
    runtimes: Vec<Arc<dyn Runtime>>,
    world: World,
    store: LocalStore,
    retention: Duration,
    allocatable: Resources,
    /// Whose turn it is to be created and started: engines become slower with too many at once.
    starts: Arc<EngineTurns>,
    /// Whose turn it is to be signalled and to end.
    stops: Arc<EngineTurns>,
    /// Whose turn it is to be removed.
    removals: Arc<EngineTurns>,
    /// Whose turn it is to be probed.
    probes: Arc<Turns>,
    state: Mutex<State>,
    report_ready: Notify,
    /// Ticks with every status, and when it is known what is assigned.
    changed: watch::Sender<()>,
    stopped: CancellationToken,
    runners: TaskTracker,
    /// Until which uptime of the machine attempts that must never run twice may run.
    lease: watch::Sender<Duration>,
    surveyed: Surveyed,
    /// Runtimes that had not told at the start what they have.
    unlisted: Mutex<BTreeSet<RuntimeKind>>,
    /// What is heard of the manager.
    link: watch::Sender<Link>,
    /// There is one more that must never run twice.
    lease_needed: Notify,
    file_requests: FileRequests,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<AttemptKey, Held>,
    counts: Counts,
    /// Those of `held` that have ended, by the time of their end.
    ended: BTreeSet<(Timestamp, AttemptKey)>,
    /// Those of `held` that must never run twice, as far as their specs are known.
    leased: BTreeSet<AttemptKey>,
    /// Those of `held` whose removal has been ordered.
    removing: BTreeSet<AttemptKey>,
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
    /// The node's name, which tasks are told.
    pub node_name: String,
    /// What runs them; one of a kind.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// What it keeps of them.
    pub store: LocalStore,
    /// How long ended attempts stay.
    pub retention: Duration,
    /// What the node offers to its attempts.
    pub allocatable: Resources,
    /// Until which uptime of the machine attempts that must never run twice may run.
    pub lease: Duration,
    /// The id of the owner's cluster, as far as it is known.
    pub cluster_id: Option<ClusterId>,
}

impl Agent {
    /// An agent that has taken up again what an earlier worker of the same owner left.
    pub async fn start(parts: Parts, world: World) -> Arc<Self> {
        let link = watch::Sender::new(Link::new(world.clock.uptime()));
        let turns = |what| EngineTurns::new(what, Arc::clone(&world.clock));
        let (starts, stops, removals) = (turns("starts"), turns("stops"), turns("removals"));
        let agent = Arc::new(Self {
            owner: parts.owner,
            node_name: parts.node_name,
            runtimes: parts.runtimes,
            world,
            store: parts.store,
            retention: parts.retention,
            allocatable: parts.allocatable,
            starts,
            stops,
            removals,
            probes: Turns::new(health::PROBES_AT_ONCE),
            state: Mutex::default(),
            report_ready: Notify::new(),
            changed: watch::Sender::new(()),
            stopped: CancellationToken::new(),
            runners: TaskTracker::new(),
            lease: watch::Sender::new(parts.lease),
            surveyed: Surveyed::new(parts.cluster_id),
            unlisted: Mutex::default(),
            link,
            lease_needed: Notify::new(),
            file_requests: FileRequests::default(),
        });
        if let Some(cluster_id) = parts.cluster_id {
            agent.set_cluster_id(cluster_id);
        }
        agent.runners.spawn({
            let agent = Arc::clone(&agent);
            async move { agent.stopped.run_until_cancelled(agent.keep_lease()).await }
        });
        agent.adopt().await;
        agent.runners.spawn({
            let agent = Arc::clone(&agent);
            async move { agent.stopped.run_until_cancelled(agent.sweep()).await }
        });
        agent
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

    /// Begins to hold an attempt, with a runner of its own.
    fn hold(self: &Arc<Self>, state: &mut State, key: AttemptKey, record: Record, wanted: Wanted, start: Start) {
        let now = self.world.clock.now();
        let has_check = wanted.has_check();
        let status = status::first_status(key.attempt, &start, &record, has_check, now);
        let (orders, receiver) = watch::channel(wanted);
        let (status, acknowledged) = held::taken_up(record.known.as_ref(), status, now);
        // The session that brought it has that told a moment later.
        let is_news = !matches!(start, Start::New);
        if !acknowledged && is_news {
            state.reporter.put(key, status.clone());
        } else if !acknowledged {
            state.reporter.put_first(key, status.clone(), Instant::now());
        }
        let ended_at = status.state.is_terminal().then_some(now);
        let is_unseen = matches!(start, Start::Unknown) && ended_at.is_none();
        let runner = Runner::new(Arc::clone(self), key, receiver, &record, start);
        let others_lease = Duration::ZERO;
        if let Some(spec) = &orders.borrow().spec {
            self.note_lease(state, key, spec);
        }
        let held = Held { orders, kind: record.kind, status, is_unseen, others_lease, ended_at };
        state.keep(key, held);
        self.store.keep(key, record);
        self.runners.spawn(runner.run_until(self.stopped.clone()));
        if is_news {
            self.report_ready.notify_one();
        }
        self.changed.send_replace(());
    }

    /// A session begins, with heartbeats in this period and leases that last so long, if it knows any: its full set comes next, and what
    /// an earlier one did not bring to an end is sent anew.
    pub fn begin_session(&self, heartbeat_period: Duration, lease_duration: Option<Duration>) {
        {
            // First: what waits for the manager must not take an earlier full set for this one's.
            let mut state = self.state.lock();
            state.follower = Follower::new();
            state.reporter.reset();
            if !self.is_in_charge() {
                // Nobody else's lease is renewed any more.
                let others_lease = lease_duration.map_or(Duration::ZERO, |lasts| self.uptime().saturating_add(lasts));
                state.held.values_mut().for_each(|held| held.others_lease = others_lease);
            }
        }
        self.link.send_modify(|link| {
            *link = Link { is_open: true, heartbeat_period, standing: Standing::InCharge, ..*link };
        });
        for runtime in &self.runtimes {
            runtime.take_charge();
        }
        self.report_ready.notify_one();
    }

    /// The session is over, or there is still none. If the manager has refused this worker as a second one, that is told first.
    pub fn end_session(&self) {
        self.link.send_if_modified(|link| {
            let before = *link;
            link.is_open = false;
            link.standing = link.standing.unanswered();
            *link != before
        });
    }

    /// The manager has another worker as this node: nothing is begun, restarted or removed here on this one's own account, and nothing
    /// is stopped but what it began itself under a lease that has ended.
    pub fn has_rival(&self) {
        self.link.send_modify(|link| link.standing = link.standing.refused());
    }

    /// Whether the manager has this worker as its node, so that what earlier workers left is its own to remove: what ended, what nobody
    /// looks after, images.
    #[must_use]
    pub fn is_in_charge(&self) -> bool {
        self.link.borrow().standing == Standing::InCharge
    }

    /// The manager has acknowledged what was sent at this uptime of the machine.
    pub fn heard(&self, sent_at: Duration) {
        self.link.send_modify(|link| link.heard_at = link.heard_at.max(sent_at));
    }

    /// Takes up what the manager assigns.
    pub fn assign(self: &Arc<Self>, batch: Batch) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let was_complete = state.follower.is_complete();
        // Only what a batch can touch is looked at, unless it ends the full set.
        let ends_full_set = (batch.full && batch.last) || bugs::is(Bug::FullSetMisread);
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
                Order::Remove { key, why, is_urgent } => {
                    if state.remove(key, is_urgent) {
                        tracing::debug!(%key, why, "removing an attempt");
                    }
                }
            }
        }
        if state.follower.is_complete() != was_complete {
            self.changed.send_replace(());
        }
    }

    fn order(self: &Arc<Self>, state: &mut State, assignment: Assignment) {
        let key = assignment.key;
        let want = match assignment.desired_state {
            DesiredState::Running => Want::Run,
            DesiredState::Stopped | DesiredState::Removed => Want::Stop,
        };
        match state.held.get(&key) {
            // What is to be removed or is being stopped for the worker's end stays so.
            Some(held) if held.wants_end() && want == Want::Run => {}
            Some(held) => {
                if held.is_news(&assignment.spec) {
                    self.store.note(key, |record| record.set_assignment(&assignment));
                }
                let spec = assignment.spec;
                held.want(want, Some((Arc::clone(&spec), assignment.ports, assignment.part)));
                self.note_lease(state, key, &spec);
            }
            None if state.closing => {}
            None => {
                let record = Record::assigned(&assignment);
                let Assignment { spec, ports, part, .. } = assignment;
                self.hold(
                    state,
                    key,
                    record,
                    Wanted { want, spec: Some(spec), ports, part, stop_reason: "", is_urgent: false },
                    Start::New,
                );
            }
        }
    }

    /// The report to send now, if there is one.
    #[must_use]
    pub fn next_report(&self) -> Option<Report> {
        self.state.lock().reporter.next_report(Instant::now())
    }

    /// When there is something to report, if nothing happens by then; it may have passed. `None`: never, or not before a report
    /// that is under way is acknowledged.
    #[must_use]
    pub fn next_report_due(&self) -> Option<Instant> {
        self.state.lock().reporter.next_due()
    }

    /// A report is durable.
    pub fn acknowledge(&self, report_id: u64) {
        let mut state = self.state.lock();
        let Some(known) = state.reporter.acknowledge(report_id) else {
            return tracing::debug!(report_id, "an acknowledgement of no report under way");
        };
        for key in known {
            // What comes before the start changes all the time, and is told anew after a restart.
            if let Some(held) = state.held.get(&key)
                && held.status.state > TaskState::Preparing
            {
                self.store.note(key, |record| record.set_known(&held.status, true));
            }
        }
        drop(state);
        self.report_ready.notify_one();
        self.changed.send_replace(());
    }

    /// What an attempt is told of itself.
    fn environment_of(&self, key: AttemptKey, spec: &TaskSpec, wanted: &Wanted) -> Vec<(String, String)> {
        environment((self.owner.node_id, &self.node_name), key, spec, &wanted.ports, wanted.part)
    }

    /// Ticks whenever an attempt changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until there may be a report to send.
    pub async fn report_ready(&self) {
        self.report_ready.notified().await;
    }

    /// Takes down what a runner saw of its attempt.
    fn observe(&self, key: AttemptKey, change: impl FnOnce(&mut AttemptStatus)) {
        let now = self.world.clock.now();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(held) = state.held.get_mut(&key) else { return };
        state.counts.seen(held);
        held.is_unseen = false;
        let Some(next) = held.status_after(change, now) else { return };
        state.counts.moved(held.status.state, next.state);
        if next.state != held.status.state {
            tracing::info!(
                task_id = %key.task_id, attempt = key.attempt.0, state = %next.state, reason = next.reason, "attempt"
            );
        }
        if next.state.is_terminal() {
            let ended_at = *held.ended_at.get_or_insert(now);
            state.ended.insert((ended_at, key));
        }
        held.status = next.clone();
        state.reporter.put(key, next);
        drop(guard);
        self.report_ready.notify_one();
        self.changed.send_replace(());
    }

    /// Notes the newest status of an attempt, so that a restarted worker knows what was seen of it.
    fn note_status(&self, key: AttemptKey) {
        let state = self.state.lock();
        if let Some(held) = state.held.get(&key) {
            self.store.note(key, |record| record.set_known(&held.status, false));
        }
    }

    /// Takes down the end of an attempt: on the disk first, since what the manager has heard is never taken back.
    async fn observe_end(&self, key: AttemptKey, change: impl FnOnce(&mut AttemptStatus)) {
        let now = self.world.clock.now();
        let Some(end) = self.state.lock().held.get(&key).and_then(|held| held.status_after(change, now)) else {
            return;
        };
        if let Err(error) = self.store.write(key, true, |record| record.set_known(&end, false)).await {
            // The manager must hear of it all the same; the engine still has it for a restarted worker.
            tracing::warn!(%key, %error, "the end of an attempt is reported without being noted");
        }
        self.observe(key, |status| *status = end);
    }

    /// Nothing is left of an attempt.
    fn forget(&self, key: AttemptKey) {
        let mut state = self.state.lock();
        state.drop_held(key);
        state.leased.remove(&key);
        state.removing.remove(&key);
        state.reporter.forget(key);
        drop(state);
        self.changed.send_replace(());
    }

    /// An earlier attempt of the task that has not ended here.
    fn earlier_running(&self, key: AttemptKey) -> Option<Attempt> {
        let state = self.state.lock();
        let mut earlier = state.held.range(assignments::first_of(key.task_id)..key);
        earlier.find(|(_, held)| held.ended_at.is_none()).map(|(earlier, _)| earlier.attempt)
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
}

impl State {
    /// Takes in what is held of an attempt from now on.
    fn keep(&mut self, key: AttemptKey, held: Held) {
        self.drop_held(key);
        self.counts.change(None, Some(&held));
        self.ended.extend(held.ended_at.map(|ended_at| (ended_at, key)));
        self.held.insert(key, held);
    }

    /// Holds an attempt no longer.
    fn drop_held(&mut self, key: AttemptKey) {
        let Some(dropped) = self.held.remove(&key) else { return };
        self.counts.change(Some(&dropped), None);
        if let Some(ended_at) = dropped.ended_at {
            self.ended.remove(&(ended_at, key));
        }
    }

    /// Has an attempt removed. False if there is none.
    fn remove(&mut self, key: AttemptKey, is_urgent: bool) -> bool {
        let Some(held) = self.held.get(&key) else { return false };
        held.want(Want::Remove, None);
        if is_urgent {
            held.hurry();
        }
        self.removing.insert(key);
        true
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
