//! The engine behind fake runtimes: what it holds, and the handle by which tests steer it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use davit_core::id::{AttemptKey, ClusterId, NodeId};
use davit_core::task::Ports;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::FakeRuntime;
use super::orders::{Habits, Orders};
use crate::runtime::change_log::ChangeLog;
use crate::runtime::{
    Error, Exit, Instance, InstanceState, LogLine, LogSource, Owner, Probed, RuntimeKind, SharedClock, Sighting,
    Started, Survey,
};
use crate::turns::{Turn, Turns};

/// How many calls are remembered: the newest. None by an engine with habits, which nobody asks.
const KEPT_CALLS: usize = 10_000;

/// A step that was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the methods of the Runtime trait")]
pub enum Step {
    Check,
    List,
    Prepare,
    Create,
    Start,
    Restart,
    Wait,
    Probe,
    Stop,
    /// The signal of a stop.
    Signal,
    /// Its kill.
    Kill,
    Remove,
    Logs,
    Survey,
    RemoveSighted,
}

/// A call that reached the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// Which step.
    pub step: Step,
    /// Of which attempt, where the step has one.
    pub key: Option<AttemptKey>,
}

/// What an engine did with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It runs from now on.
    Started,
    /// It ended before, and runs once more.
    Restarted,
    /// It ended.
    Ended {
        /// With what.
        exit_code: i32,
    },
}

/// Is told of every start and end at the moment it happens.
pub type Observer = Arc<dyn Fn(AttemptKey, Deed) + Send + Sync>;

/// The handle of a fake engine. Clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for FakeEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeEngine").finish_non_exhaustive()
    }
}

/// With which attempts something was done, on which nodes.
type Changes = Arc<Mutex<ChangeLog<(NodeId, AttemptKey)>>>;

struct Shared {
    clock: SharedClock,
    observer: Option<Observer>,
    habits: Habits,
    /// Whose turn it is to start something, among engines that share a machine's time.
    turns: Option<Arc<Turns>>,
    kept_calls: usize,
    changes: Changes,
    next_port: AtomicU16,
    hanging: watch::Sender<bool>,
    /// Steps that do not return.
    stuck: watch::Sender<HashSet<Step>>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    instances: HashMap<Owner, BTreeMap<AttemptKey, Arc<FakeInstance>>>,
    calls: VecDeque<Call>,
    down: Option<String>,
    failing: HashMap<Step, String>,
    /// Starts and restarts that take place later, while such are kept.
    late_starts: Vec<Arc<FakeInstance>>,
    /// Whether further ones join them.
    starts_late: bool,
}

impl FakeEngine {
    /// An engine without instances.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self::build(clock, None, Habits::default(), None, KEPT_CALLS)
    }

    /// An engine without instances that does as it is used to with what has no orders. All that share `turns` start only so much at
    /// once, first come, first served.
    #[must_use]
    pub fn with_habits(clock: SharedClock, habits: Habits, turns: Arc<Turns>) -> Self {
        Self::build(clock, None, habits, Some(turns), 0)
    }

    /// An engine without instances that tells of every start and end.
    #[must_use]
    pub fn observed(clock: SharedClock, observer: Observer) -> Self {
        Self::build(clock, Some(observer), Habits::default(), None, KEPT_CALLS)
    }

    fn build(
        clock: SharedClock,
        observer: Option<Observer>,
        habits: Habits,
        turns: Option<Arc<Turns>>,
        kept_calls: usize,
    ) -> Self {
        let (next_port, hanging, stuck) = (AtomicU16::new(32768), watch::Sender::new(false), watch::Sender::default());
        let held = Mutex::default();
        let changes = Arc::default();
        let shared = Shared { clock, observer, habits, turns, kept_calls, changes, next_port, hanging, stuck, held };
        Self { shared: Arc::new(shared) }
    }

    /// A worker's view of it, which passes for a runtime of `kind`. It runs specs of both kinds.
    #[must_use]
    pub fn runtime(&self, owner: Owner, kind: RuntimeKind) -> FakeRuntime {
        FakeRuntime { owner, kind, engine: self.clone(), cluster_id: Mutex::default() }
    }

    /// From now on every step fails with `Unavailable` and this reason; `None` ends that.
    pub fn set_down(&self, reason: Option<&str>) {
        self.shared.held.lock().down = reason.map(str::to_owned);
    }

    /// From now on no step answers, as if the engine were stopped by a signal; `false` lets it go on, also with the calls that
    /// wait.
    pub fn set_hanging(&self, hangs: bool) {
        self.shared.hanging.send_replace(hangs);
    }

    /// What a lease guard does when the lease has ended: stops what must never run twice, unless the engine is down or hangs.
    pub fn stop_leased(&self, owner: &Owner) {
        let held = self.shared.held.lock();
        if held.down.is_some() || *self.shared.hanging.borrow() {
            return;
        }
        let of_owner: Vec<_> = held.instances.get(owner).into_iter().flat_map(BTreeMap::values).cloned().collect();
        drop(held);
        for instance in of_owner.iter().filter(|instance| instance.is_leased) {
            instance.end(143, false, self.now());
        }
    }

    /// From now on starts and restarts fail as calls that timed out do, and take place when this is ended, unless what they
    /// start has been removed by then.
    pub fn set_starts_late(&self, late: bool) {
        let mut held = self.shared.held.lock();
        held.starts_late = late;
        if late {
            return;
        }
        for instance in std::mem::take(&mut held.late_starts) {
            let is_there = |instances: &BTreeMap<AttemptKey, Arc<FakeInstance>>| {
                instances.values().any(|there| Arc::ptr_eq(there, &instance))
            };
            if held.instances.values().any(is_there) {
                let started = Started { started_at: self.shared.clock.now(), ports: instance.ports.clone() };
                if instance.begin_again(&started) {
                    self.play(instance);
                }
            }
        }
    }

    /// From now on starts and restarts are answered again, while those that were not are still to take place.
    pub fn answer_starts(&self) {
        self.shared.held.lock().starts_late = false;
    }

    /// Does what an instance is ordered to do, from its start on.
    pub(super) fn play(&self, instance: Arc<FakeInstance>) {
        for line in instance.orders.log.iter().flat_map(|log| log.split('|')) {
            instance.print(line, self.now());
        }
        if let Some(run_for) = instance.orders.run_for {
            let (engine, run) = (self.clone(), instance.run());
            tokio::spawn(async move {
                tokio::time::sleep(run_for).await;
                // It may have been ended and restarted meanwhile.
                if instance.run() == run {
                    instance.end(instance.orders.exit_code, instance.orders.oom_killed, engine.now());
                }
            });
        }
    }

    /// Keeps a start or restart for later. False while none are.
    pub(super) fn keep_start(&self, instance: &Arc<FakeInstance>) -> bool {
        let mut held = self.shared.held.lock();
        if held.starts_late {
            held.late_starts.push(Arc::clone(instance));
        }
        held.starts_late
    }

    /// From now on calls of this step reach the engine and do not return; `false` lets it go on, also with those that wait.
    pub fn set_stuck(&self, step: Step, is_stuck: bool) {
        self.shared.stuck.send_modify(|stuck| match is_stuck {
            true => drop(stuck.insert(step)),
            false => drop(stuck.remove(&step)),
        });
    }

    /// The machine is started anew: nothing of what it had is left.
    pub fn forget_all(&self) {
        self.shared.held.lock().instances.clear();
        self.shared.changes.lock().note_all();
    }

    /// From now on this step fails with `Unavailable` and this reason; `None` ends that.
    pub fn set_failing(&self, step: Step, reason: Option<&str>) {
        let failing = &mut self.shared.held.lock().failing;
        match reason {
            Some(reason) => failing.insert(step, reason.to_owned()),
            None => failing.remove(&step),
        };
    }

    /// The newest calls, oldest first; calls that failed because the engine was down are among them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.held.lock().calls.iter().copied().collect()
    }

    /// The attempts of this owner that run now.
    #[must_use]
    pub fn running(&self, owner: &Owner) -> Vec<AttemptKey> {
        let running = |instance: &Instance| matches!(instance.state, InstanceState::Running(_));
        self.instances(owner).into_iter().filter(running).map(|instance| instance.key).collect()
    }

    /// Where an attempt is in its life; `None`: there is none.
    #[must_use]
    pub fn state(&self, owner: &Owner, key: AttemptKey) -> Option<InstanceState> {
        self.find(owner, key).map(|instance| instance.state())
    }

    /// Ends a running attempt now, as if it had ended by itself. False if it does not run.
    pub fn end(&self, owner: &Owner, key: AttemptKey, exit_code: i32) -> bool {
        self.find(owner, key).is_some_and(|instance| instance.end(exit_code, false, self.now()))
    }

    /// From now on probes of an attempt show this, whatever its orders are. False if there is no such attempt.
    pub fn set_probed(&self, owner: &Owner, key: AttemptKey, probed: &Probed) -> bool {
        let set = |instance: Arc<FakeInstance>| instance.life.send_modify(|life| life.probed = Some(probed.clone()));
        self.find(owner, key).map(set).is_some()
    }

    /// Makes an attempt write a line to stdout. False if there is no such attempt.
    pub fn print(&self, owner: &Owner, key: AttemptKey, line: &str) -> bool {
        let found = self.find(owner, key);
        found.inspect(|instance| instance.print(line, self.now())).is_some()
    }

    /// Notes a call, once the engine does not hang, and fails it if it is to fail.
    pub(super) async fn enter(&self, step: Step, key: Option<AttemptKey>) -> Result<(), Error> {
        // The sender is in `self`, so this can't fail.
        let _ = self.shared.hanging.subscribe().wait_for(|hangs| !hangs).await;
        self.note(Call { step, key });
        let _ = self.shared.stuck.subscribe().wait_for(|stuck| !stuck.contains(&step)).await;
        let held = self.shared.held.lock();
        match held.down.as_ref().or_else(|| held.failing.get(&step)) {
            Some(reason) => Err(Error::Unavailable { action: "fake", reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn note(&self, call: Call) {
        if self.shared.kept_calls == 0 {
            return;
        }
        let calls = &mut self.shared.held.lock().calls;
        if calls.len() == self.shared.kept_calls {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    /// Waits for its turn to prepare, create or start something, which it is until the answer is dropped.
    pub(super) async fn turn(&self) -> Option<Turn> {
        self.shared.turns.as_ref()?.next().await
    }

    /// How much has been created, started, removed or has ended so far.
    pub(super) fn changes(&self) -> u64 {
        self.shared.changes.lock().last()
    }

    /// By which an instance tells what becomes of it.
    pub(super) fn teller(&self, node_id: NodeId) -> Teller {
        Teller { node_id, observer: self.shared.observer.clone(), changes: Arc::clone(&self.shared.changes) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(super) fn habits(&self) -> &Habits {
        &self.shared.habits
    }

    pub(super) fn next_port(&self) -> u16 {
        // Wraps to numbers that a real engine would not give; no test gets that far.
        self.shared.next_port.fetch_add(1, Ordering::Relaxed).max(1024)
    }

    pub(super) fn instances(&self, owner: &Owner) -> Vec<Instance> {
        let held = self.shared.held.lock();
        let of_owner = held.instances.get(owner).into_iter().flatten();
        of_owner.map(|(key, instance)| Instance { key: *key, state: instance.state() }).collect()
    }

    /// What all owners of a cluster have, or what of it has changed since so many changes.
    pub(super) fn look_around(&self, cluster: &str, since: Option<u64>) -> Survey {
        let changed = since.and_then(|since| self.shared.changes.lock().since(since));
        let held = self.shared.held.lock();
        let mut owners: Vec<_> = held.instances.iter().filter(|(owner, _)| owner.cluster == cluster).collect();
        owners.sort_unstable_by_key(|(owner, _)| owner.node_id);
        let mut seen = Vec::new();
        for (owner, instances) in owners {
            let sighting = |(key, instance): (&AttemptKey, &Arc<FakeInstance>)| Sighting {
                id: instance.id.clone(),
                cluster_id: instance.cluster_id,
                node_id: Some(owner.node_id),
                key: Some(*key),
                is_instance: true,
                running: instance.runs(),
            };
            match &changed {
                Some(changed) => {
                    let of_owner = changed.iter().filter(|(node_id, _)| *node_id == owner.node_id);
                    seen.extend(of_owner.filter_map(|(_, key)| instances.get_key_value(key)).map(sighting));
                }
                None => seen.extend(instances.iter().map(sighting)),
            }
        }
        Survey { seen, of: changed.map(|changed| changed.into_iter().map(|(node_id, key)| id(node_id, key)).collect()) }
    }

    pub(super) fn find(&self, owner: &Owner, key: AttemptKey) -> Option<Arc<FakeInstance>> {
        self.shared.held.lock().instances.get(owner)?.get(&key).cloned()
    }

    /// Keeps the one that is there already.
    pub(super) fn insert(&self, owner: &Owner, key: AttemptKey, instance: FakeInstance) {
        let mut held = self.shared.held.lock();
        held.instances.entry(owner.clone()).or_default().entry(key).or_insert_with(|| Arc::new(instance));
        self.shared.changes.lock().note((owner.node_id, key));
    }

    pub(super) fn remove(&self, owner: &Owner, key: AttemptKey) -> Option<Arc<FakeInstance>> {
        let removed = self.shared.held.lock().instances.get_mut(owner)?.remove(&key);
        self.shared.changes.lock().note((owner.node_id, key));
        removed
    }
}

/// The engine's name for an instance.
pub(super) fn id(node_id: NodeId, key: AttemptKey) -> String {
    format!("{node_id}/{key}")
}

/// All that changes in an instance.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) state: InstanceState,
    pub(super) log: Vec<LogLine>,
    /// How often it was started.
    runs: u32,
    /// When it was started last.
    began: Option<Instant>,
    /// What probes of it show, where a test has said that.
    probed: Option<Probed>,
}

impl Life {
    fn begin(&mut self, started: &Started) {
        self.state = InstanceState::Running(started.clone());
        self.runs += 1;
        self.began = Some(Instant::now());
    }
}

/// Tells of starts and ends.
pub(super) struct Teller {
    /// Whose instance it is.
    node_id: NodeId,
    observer: Option<Observer>,
    /// The engine's.
    changes: Changes,
}

/// An attempt that only pretends.
pub(super) struct FakeInstance {
    /// The engine's name for it.
    id: String,
    key: AttemptKey,
    cluster_id: Option<ClusterId>,
    teller: Teller,
    /// What it publishes when it runs.
    pub(super) ports: Ports,
    pub(super) orders: Orders,
    /// Whether it must never run twice.
    is_leased: bool,
    life: watch::Sender<Life>,
}

impl FakeInstance {
    pub(super) fn new(
        id: String,
        key: AttemptKey,
        cluster_id: Option<ClusterId>,
        ports: Ports,
        orders: Orders,
        is_leased: bool,
        teller: Teller,
    ) -> Self {
        let life = watch::Sender::new(Life {
            state: InstanceState::Created,
            log: Vec::new(),
            runs: 0,
            began: None,
            probed: None,
        });
        Self { id, key, cluster_id, teller, ports, orders, is_leased, life }
    }

    fn tell(&self, deed: Deed) {
        self.teller.changes.lock().note((self.teller.node_id, self.key));
        if let Some(observer) = &self.teller.observer {
            observer(self.key, deed);
        }
    }

    pub(super) fn key(&self) -> AttemptKey {
        self.key
    }

    pub(super) fn state(&self) -> InstanceState {
        self.life.borrow().state.clone()
    }

    fn runs(&self) -> bool {
        matches!(self.life.borrow().state, InstanceState::Running(_))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// True if this call started it.
    pub(super) fn begin(&self, started: &Started) -> bool {
        self.life.send_if_modified(|life| {
            let begins = life.state == InstanceState::Created;
            if begins {
                life.begin(started);
                self.tell(Deed::Started);
            }
            begins
        })
    }

    /// True if this call started it, whether or not it ran before.
    pub(super) fn begin_again(&self, started: &Started) -> bool {
        self.life.send_if_modified(|life| {
            let deed = match life.state {
                InstanceState::Created => Deed::Started,
                InstanceState::Exited(_) => Deed::Restarted,
                InstanceState::Running(_) => return false,
            };
            life.begin(started);
            self.tell(deed);
            true
        })
    }

    /// What a probe of it shows now.
    pub(super) fn probed(&self) -> Probed {
        let life = self.life.borrow();
        let by_orders = || self.orders.probed(life.began.map(|began| began.elapsed()).unwrap_or_default());
        life.probed.clone().unwrap_or_else(by_orders)
    }

    /// Which of its runs this is.
    pub(super) fn run(&self) -> u32 {
        self.life.borrow().runs
    }

    /// True if this call ended it.
    pub(super) fn end(&self, exit_code: i32, oom_killed: bool, now: Timestamp) -> bool {
        self.life.send_if_modified(|life| {
            let InstanceState::Running(started) = &life.state else { return false };
            let started_at = Some(started.started_at);
            life.state = InstanceState::Exited(Exit {
                exit_code,
                oom_killed,
                lease_ended: false,
                error: String::new(),
                started_at,
                finished_at: now,
            });
            self.tell(Deed::Ended { exit_code });
            true
        })
    }

    pub(super) fn print(&self, line: &str, now: Timestamp) {
        let bytes = format!("{line}\n").into_bytes();
        self.life.send_modify(|life| {
            life.log.push(LogLine { source: LogSource::Stdout, timestamp: Some(now), bytes });
        });
    }

    /// `None` if it was dropped before its end.
    pub(super) async fn ended(&self) -> Option<Exit> {
        let mut life = self.life.subscribe();
        let life = life.wait_for(|life| matches!(life.state, InstanceState::Exited(_))).await.ok()?;
        match &life.state {
            InstanceState::Exited(exit) => Some(exit.clone()),
            InstanceState::Created | InstanceState::Running(_) => None,
        }
    }
}
