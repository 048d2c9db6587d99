//! What an agent tells of its attempts.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use davit_core::id::AttemptKey;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState};

use super::Agent;
use super::counts::Counts;
use super::held::Held;
use crate::runtime::Runtime;

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

impl Agent {
    /// All attempts with their newest status, for a registration; those that the manager needs to hear of come first.
    #[must_use]
    pub fn statuses(&self) -> Vec<(AttemptKey, AttemptStatus)> {
        let state = self.state.lock();
        let mut statuses: Vec<_> = state.held.iter().map(|(key, held)| (*key, held.status.clone())).collect();
        statuses.sort_by_key(|(key, status)| (status.state.is_terminal(), state.reporter.is_acknowledged(*key)));
        statuses
    }

    /// How many attempts run, or may run as far as their runtime has told.
    #[must_use]
    pub fn running(&self) -> u32 {
        u32::try_from(self.state.lock().counts.running()).unwrap_or(u32::MAX)
    }

    /// How many attempts are in each state.
    #[must_use]
    pub fn count_by_state(&self) -> BTreeMap<TaskState, usize> {
        // Also those that nothing is in: a gauge that is not set keeps what it showed.
        let reported = TaskState::ALL.into_iter().filter(|state| state.reported_by().is_some());
        let state = self.state.lock();
        let counts = state.counts;
        debug_assert_eq!(counts, Counts::of(state.held.values()), "they were not kept up");
        drop(state);
        reported.map(|state| (state, counts.in_state(state))).collect()
    }

    /// What it holds, from the first key after `after`.
    #[must_use]
    pub fn local_attempts(&self, after: Option<AttemptKey>, limit: usize) -> Vec<LocalAttempt> {
        let state = self.state.lock();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let of = |(key, held): (&AttemptKey, &Held)| LocalAttempt {
            key: *key,
            name: held.name(),
            wanted: held.desired_state(),
            status: held.status.clone(),
            acknowledged: state.reporter.is_acknowledged(*key),
        };
        state.held.range((after, Bound::Unbounded)).take(limit).map(of).collect()
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
}
