//! How a rollout gets on: slots that are under way are watched, failures judged, others begun.

mod finish;
mod judge;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{
    Deployment, Incoming, OnRolloutFailure, Rollout, RolloutState, UpdateOrder, UpdatePolicy, Version,
};
use davit_core::id::Attempt;
use davit_core::spec::TaskSpec;
use davit_core::state::TaskState;
use davit_core::task::{Slot, Task};
use davit_svc_kit::bugs::{self, Bug};
use jiff::Timestamp;

use self::finish::has_done_its_work;
use super::DeploymentStep;
use super::places::{Place, Places};

/// How often it is looked whether a node is in touch again on which a task may serve.
const WORD_PERIOD: Duration = Duration::from_secs(1);

/// A rollout while it is being brought forward.
pub(super) struct Progress<'a> {
    deployment: &'a Deployment,
    current: &'a Version,
    places: &'a Places<'a>,
    policy: &'a UpdatePolicy,
    now: Timestamp,
    /// Slots that got done now: their old tasks are on their way out.
    done_now: BTreeSet<Slot>,
    pub(super) rollout: Rollout,
    /// What there is to say of it.
    pub(super) message: String,
    pub(super) steps: Vec<DeploymentStep>,
    pub(super) roll_back_to: Option<u32>,
    pub(super) next_look: Option<Timestamp>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(
        deployment: &'a Deployment,
        current: &'a Version,
        places: &'a Places<'a>,
        now: Timestamp,
    ) -> Self {
        let mut rollout = deployment.rollout.clone();
        let policy = current.spec.policy(rollout.is_rollback);
        rollout.in_flight.retain(|slot, _| places.by_slot.get(slot).is_some_and(|place| place.wanted));
        let (message, steps) = ("the rollout got on".to_owned(), Vec::new());
        let (done_now, roll_back_to, next_look) = (BTreeSet::new(), None, None);
        Self { deployment, current, places, policy, now, done_now, rollout, message, steps, roll_back_to, next_look }
    }

    /// Takes in how the tasks are that are under way, and ends those slots that are done.
    pub(super) fn watch(&mut self) {
        let slots: Vec<Slot> = self.rollout.in_flight.keys().copied().collect();
        for slot in slots {
            let (Some(place), Some(mut incoming)) =
                (self.places.by_slot.get(&slot), self.rollout.in_flight.get(&slot).copied())
            else {
                continue;
            };
            // A canary that runs is watched on, also while its node is out of touch for a moment.
            let runs = place.fresh.is_some_and(|task| task.status.state.is_on_node());
            if place.is_out && (self.rollout.promoted || !runs) {
                // It is taken up again when its node is back.
                self.rollout.in_flight.remove(&slot);
                continue;
            }
            let done = match place.fresh {
                Some(task) => self.watch_task(task, &mut incoming),
                None => {
                    // Whatever was there is gone.
                    incoming = Incoming { failed: incoming.failed, ..Incoming::default() };
                    false
                }
            };
            if done {
                self.end_slot(slot, place);
            } else {
                self.rollout.in_flight.insert(slot, incoming);
            }
        }
        self.note_ready_tasks();
    }

    /// Whether the slot is done.
    fn watch_task(&mut self, task: &Task, incoming: &mut Incoming) -> bool {
        if incoming.task_id != Some(task.task_id) {
            *incoming = Incoming { failed: incoming.failed, ..incoming_from(task, Attempt::default()) };
        }
        if incoming.attempt != task.status.attempt || !self.places.serves(task) {
            incoming.ready_since = None;
        }
        incoming.attempt = task.status.attempt;
        if !incoming.failed && failed_since(task, incoming.counted_from) {
            incoming.failed = true;
            self.rollout.failed += 1;
        }
        if incoming.failed && self.policy.on_failure == OnRolloutFailure::Continue {
            return self.rollout.promoted;
        }
        if bugs::is(Bug::NewTaskNotAwaited) || has_done_its_work(task) {
            return self.rollout.promoted;
        }
        if !self.places.serves(task) {
            return false;
        }
        let since = *incoming.ready_since.get_or_insert(self.now);
        let done_at = later(since, self.policy.monitor);
        if done_at > self.now {
            self.look_at(done_at);
            return false;
        }
        // Canaries are watched until they are promoted.
        self.rollout.promoted
    }

    fn end_slot(&mut self, slot: Slot, place: &Place<'_>) {
        self.rollout.in_flight.remove(&slot);
        self.done_now.insert(slot);
        self.rollout.done += 1;
        self.rollout.progress_at = self.now;
        if !self.policy.delay.is_zero() {
            self.rollout.next_at = Some(later(self.now, self.policy.delay));
        }
        if let Some(stale) = place.stale {
            self.stop(stale);
        }
    }

    /// Where nothing is replaced, tasks that became ready are what it gets on by.
    fn note_ready_tasks(&mut self) {
        if self.rollout.from_version.is_some() || self.rollout.state == RolloutState::Complete {
            return;
        }
        let serves = |place: &&Place<'_>| place.wanted && place.fresh.is_some_and(|task| self.places.serves(task));
        let ready = self.places.by_slot.values().filter(serves);
        let ready = u32::try_from(ready.count()).unwrap_or(u32::MAX);
        if ready > self.rollout.done {
            self.rollout.done = ready;
            self.rollout.progress_at = self.now;
        }
    }

    /// Begins as many slots as may be under way.
    pub(super) fn begin(&mut self) {
        let late = self.rollout.state == RolloutState::Complete;
        if self.rollout.state != RolloutState::InProgress && !late {
            return;
        }
        let in_flight = |slot: &Slot| self.rollout.in_flight.contains_key(slot) || self.done_now.contains(slot);
        let mut waiting: Vec<(bool, Slot)> = self
            .places
            .by_slot
            .iter()
            .filter(|(slot, place)| place.wanted && !place.is_out && !in_flight(slot))
            .filter_map(|(slot, place)| Some((self.places.serves(place.stale?), *slot)))
            .collect();
        if waiting.is_empty() {
            return;
        }
        if late {
            // Such as the place on a node that was away.
            self.rollout =
                Rollout { from_version: self.rollout.from_version, ..Rollout::begin(self.now, None, false, true) };
            self.message = "a task of an older version is there again".to_owned();
        }
        // Where both are there it is under way, whatever rollout began that.
        waiting.retain(|(_, slot)| !self.take_up(*slot));
        if let Some(next_at) = self.rollout.next_at.filter(|next_at| *next_at > self.now && !waiting.is_empty()) {
            self.look_at(next_at);
            return;
        }
        if let Some(next_at) = self.rollout.next_at.take() {
            self.rollout.progress_at = self.rollout.progress_at.max(next_at);
        }
        // What serves nobody goes first.
        waiting.sort_unstable();
        // A canary that is healthy waits for nothing but its promotion, and a failure that is allowed holds up nobody else.
        let is_under_way =
            |(slot, incoming): &(&Slot, &Incoming)| !self.is_settled(**slot, incoming) && !incoming.failed;
        let under_way = self.rollout.in_flight.iter().filter(is_under_way).count();
        let free = self.policy.max_in_flight().saturating_sub(under_way);
        let begun = self.rollout.in_flight.len() + self.rollout.done as usize;
        let canaries = self.policy.canaries as usize;
        let free = if self.rollout.promoted { free } else { free.min(canaries.saturating_sub(begun)) };
        self.rollout.in_flight.extend(waiting.into_iter().take(free).map(|(_, slot)| (slot, Incoming::default())));
    }

    /// Takes up a slot that has both tasks.
    fn take_up(&mut self, slot: Slot) -> bool {
        let Some(task) = self.places.by_slot.get(&slot).and_then(|place| place.fresh) else { return false };
        // It is not to blame for what became of it before this rollout.
        self.rollout.in_flight.insert(slot, incoming_from(task, task.status.attempt));
        true
    }

    /// Has the old task of each slot that is under way make room, or the new one come beside it.
    pub(super) fn carry_out(&mut self) {
        let slots: Vec<Slot> = self.rollout.in_flight.keys().copied().collect();
        for slot in slots {
            let Some(place) = self.places.by_slot.get(&slot) else { continue };
            match (self.policy.order, place.stale, place.fresh) {
                (UpdateOrder::StopFirst, Some(stale), _) => self.stop(stale),
                (UpdateOrder::StartFirst, Some(_), None) => {
                    self.create(slot, &self.current.spec.task, "takes the place of an older one");
                }
                (UpdateOrder::StopFirst, None, _) | (UpdateOrder::StartFirst, ..) => {}
            }
        }
    }

    /// Creates tasks that are missing. A place that was not begun keeps to the version from which the rollout leads away.
    pub(super) fn fill(&mut self) {
        let base = self.rollout.from_version.and_then(|number| self.deployment.version(number));
        let goes_on = self.rollout.state == RolloutState::InProgress && self.rollout.promoted;
        for (slot, place) in &self.places.by_slot {
            let is_empty = place.fresh.is_none() && place.stale.is_none() && !place.leaving;
            let is_skipped = self.rollout.state == RolloutState::Complete && bugs::is(Bug::SlotStaysEmpty);
            if !place.wanted || !is_empty || is_skipped {
                continue;
            }
            let in_flight = self.rollout.in_flight.contains_key(slot);
            match base {
                Some(base) if !in_flight && !goes_on => self.create(*slot, &base.spec.task, "fills an empty place"),
                Some(_) if !in_flight => {
                    self.rollout.in_flight.insert(*slot, Incoming::default());
                    self.create(*slot, &self.current.spec.task, "fills an empty place");
                }
                Some(_) => self.create(*slot, &self.current.spec.task, "takes the place of an older one"),
                None => self.create(*slot, &self.current.spec.task, "fills an empty place"),
            }
        }
    }

    fn stop(&mut self, task: &Task) {
        let why = format!("version {} of {} takes its place", self.current.number, self.deployment.name);
        self.steps.push(DeploymentStep::Stop { task_id: task.task_id, remove: false, why });
    }

    fn create(&mut self, slot: Slot, spec: &Arc<TaskSpec>, why: &str) {
        self.steps.push(DeploymentStep::Create { slot, spec: Arc::clone(spec), why: why.to_owned() });
    }

    fn look_at(&mut self, at: Timestamp) {
        self.next_look = Some(self.next_look.map_or(at, |next| next.min(at)));
    }
}

fn incoming_from(task: &Task, counted_from: Attempt) -> Incoming {
    let (task_id, attempt) = (Some(task.task_id), task.status.attempt);
    Incoming { task_id, attempt, counted_from, ready_since: None, failed: false }
}

/// Whether an attempt of the task, this one or a later, ended by itself, but for one that has done its work. The loss of a node is not
/// its fault.
fn failed_since(task: &Task, from: Attempt) -> bool {
    if has_done_its_work(task) {
        return false;
    }
    let ended_by_itself = |state: TaskState| matches!(state, TaskState::Failed | TaskState::Completed);
    let attempts = task.past_attempts.iter().chain([&task.status]).filter(|status| status.attempt >= from);
    attempts.into_iter().any(|status| ended_by_itself(status.state) || status.local_restarts > 0)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
