//! The task's state machine: which states exist, which transitions, who may make each and why.

use std::fmt;

/// The state of one attempt of a task.
///
/// The numbers are ranks: an attempt's state only ever moves to a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TaskState {
    /// Waits for a node, or for its back-off to pass.
    Pending = 0,
    /// A node is chosen and reserved.
    Scheduled = 10,
    /// The worker accepted it: image being pulled, container being created.
    Preparing = 20,
    /// Started.
    Running = 30,
    /// The stop signal was sent; the grace period runs.
    Stopping = 40,
    /// Exited 0 by itself.
    Completed = 50,
    /// Exited non-zero, was killed for its memory, or could not start.
    Failed = 51,
    /// Ended because it was asked to.
    Stopped = 52,
    /// Its node went down before it ended.
    Lost = 53,
}

/// What happens to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskEvent {
    /// A placement was committed.
    Place,
    /// It was asked to stop before any worker had it.
    Cancel,
    /// The worker accepted it.
    Prepare,
    /// The runtime started it.
    Start,
    /// The worker sent the stop signal.
    BeginStop,
    /// It exited 0 by itself.
    Complete,
    /// It failed or could not start.
    Fail,
    /// It ended because it was asked to.
    Stop,
    /// Its node went down.
    Lose,
    /// A new attempt begins: by the restart policy, by the node-loss policy, or because the user asked.
    Retry,
}

/// Who may make a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The manager's writer.
    Manager,
    /// The worker that holds the attempt.
    Worker,
}

/// One row of the transition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Where it leads.
    pub to: TaskState,
    /// Who may make it.
    pub by: Actor,
    /// Why it exists.
    pub why: &'static str,
}

/// A transition that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from} can't {event}")]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: TaskState,
    /// What was to happen.
    pub event: TaskEvent,
}

impl TaskState {
    /// All states, in order of rank.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Scheduled,
        Self::Preparing,
        Self::Running,
        Self::Stopping,
        Self::Completed,
        Self::Failed,
        Self::Stopped,
        Self::Lost,
    ];

    /// The number that orders states of one attempt.
    #[must_use]
    pub fn rank(self) -> u8 {
        self as u8
    }

    /// Whether the attempt has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.rank() >= Self::Completed.rank()
    }

    /// Whether the attempt holds resources of a node.
    #[must_use]
    pub fn is_on_node(self) -> bool {
        matches!(self, Self::Scheduled | Self::Preparing | Self::Running | Self::Stopping)
    }

    /// The event by which a worker reports this state; `None` for the manager's own states.
    #[must_use]
    pub fn reported_by(self) -> Option<TaskEvent> {
        match self {
            Self::Pending | Self::Scheduled | Self::Lost => None,
            Self::Preparing => Some(TaskEvent::Prepare),
            Self::Running => Some(TaskEvent::Start),
            Self::Stopping => Some(TaskEvent::BeginStop),
            Self::Completed => Some(TaskEvent::Complete),
            Self::Failed => Some(TaskEvent::Fail),
            Self::Stopped => Some(TaskEvent::Stop),
        }
    }
}

impl TaskEvent {
    /// All events.
    pub const ALL: [Self; 10] = [
        Self::Place,
        Self::Cancel,
        Self::Prepare,
        Self::Start,
        Self::BeginStop,
        Self::Complete,
        Self::Fail,
        Self::Stop,
        Self::Lose,
        Self::Retry,
    ];
}

/// The transition table. A worker reports only the newest state, so it may skip states on the way up.
///
/// # Errors
/// When there is no such transition.
#[deny(clippy::wildcard_enum_match_arm)]
pub fn transition(from: TaskState, event: TaskEvent) -> Result<Transition, IllegalTransition> {
    use Actor::{Manager, Worker};
    use TaskEvent as E;
    use TaskState as S;

    let row = |to, by, why| Ok(Transition { to, by, why });
    let illegal = Err(IllegalTransition { from, event });
    match (event, from) {
        (E::Place, S::Pending) => row(S::Scheduled, Manager, "the scheduler chose a node and the re-check passed"),
        (
            E::Place,
            S::Scheduled | S::Preparing | S::Running | S::Stopping | S::Completed | S::Failed | S::Stopped | S::Lost,
        ) => illegal,

        (E::Cancel, S::Pending) => row(S::Stopped, Manager, "no worker has it, so the manager ends it alone"),
        (
            E::Cancel,
            S::Scheduled | S::Preparing | S::Running | S::Stopping | S::Completed | S::Failed | S::Stopped | S::Lost,
        ) => illegal,

        (E::Prepare, S::Scheduled) => row(S::Preparing, Worker, "the worker accepted the assignment"),
        (
            E::Prepare,
            S::Pending | S::Preparing | S::Running | S::Stopping | S::Completed | S::Failed | S::Stopped | S::Lost,
        ) => illegal,

        (E::Start, S::Scheduled | S::Preparing) => row(S::Running, Worker, "the runtime started it"),
        (E::Start, S::Pending | S::Running | S::Stopping | S::Completed | S::Failed | S::Stopped | S::Lost) => illegal,

        (E::BeginStop, S::Scheduled | S::Preparing | S::Running) => {
            row(S::Stopping, Worker, "the manager wants it stopped and the signal was sent")
        }
        (E::BeginStop, S::Pending | S::Stopping | S::Completed | S::Failed | S::Stopped | S::Lost) => illegal,

        // A task that exits 0 while it is being stopped reports STOPPED: it did not end by itself.
        (E::Complete, S::Scheduled | S::Preparing | S::Running) => row(S::Completed, Worker, "it exited 0 by itself"),
        (E::Complete, S::Pending | S::Stopping | S::Completed | S::Failed | S::Stopped | S::Lost) => illegal,

        (E::Fail, S::Scheduled | S::Preparing | S::Running | S::Stopping) => {
            row(S::Failed, Worker, "it exited non-zero, was killed for its memory, or could not start")
        }
        (E::Fail, S::Pending | S::Completed | S::Failed | S::Stopped | S::Lost) => illegal,

        (E::Stop, S::Scheduled | S::Preparing | S::Running | S::Stopping) => {
            row(S::Stopped, Worker, "it ended because it was asked to")
        }
        (E::Stop, S::Pending | S::Completed | S::Failed | S::Stopped | S::Lost) => illegal,

        (E::Lose, S::Scheduled | S::Preparing | S::Running | S::Stopping) => {
            row(S::Lost, Manager, "its node went down before it ended")
        }
        (E::Lose, S::Pending | S::Completed | S::Failed | S::Stopped | S::Lost) => illegal,

        (E::Retry, S::Completed | S::Failed | S::Stopped | S::Lost) => {
            row(S::Pending, Manager, "a policy or the user asks for a new attempt; its number is one higher")
        }
        (E::Retry, S::Pending | S::Scheduled | S::Preparing | S::Running | S::Stopping) => illegal,
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "PENDING",
            Self::Scheduled => "SCHEDULED",
            Self::Preparing => "PREPARING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Stopped => "STOPPED",
            Self::Lost => "LOST",
        })
    }
}

impl fmt::Display for TaskEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Place => "be placed",
            Self::Cancel => "be cancelled",
            Self::Prepare => "be prepared",
            Self::Start => "start",
            Self::BeginStop => "begin to stop",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Stop => "stop",
            Self::Lose => "be lost",
            Self::Retry => "be tried again",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 90 (event, state) pairs, as a table that a reader can check by eye.
    #[test]
    fn every_pair_of_event_and_state() {
        let mut table = String::new();
        for event in TaskEvent::ALL {
            for from in TaskState::ALL {
                let cell = match transition(from, event) {
                    Ok(row) => format!("{} ({:?})", row.to, row.by),
                    Err(_) => "-".to_owned(),
                };
                table.push_str(&format!("{:<10} {:<10} {cell}\n", format!("{event:?}"), from.to_string()));
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn states_only_move_up_but_for_a_new_attempt() {
        for event in TaskEvent::ALL {
            for from in TaskState::ALL {
                if let Ok(row) = transition(from, event) {
                    assert_eq!(row.to.rank() > from.rank(), event != TaskEvent::Retry, "{from} {event:?}");
                }
            }
        }
    }

    #[test]
    fn terminal_states_end_an_attempt_for_good() {
        for from in TaskState::ALL.into_iter().filter(|state| state.is_terminal()) {
            for event in TaskEvent::ALL {
                assert_eq!(transition(from, event).is_ok(), event == TaskEvent::Retry, "{from} {event:?}");
            }
        }
    }

    #[test]
    fn workers_never_make_a_managers_transition() {
        for to in TaskState::ALL {
            let Some(event) = to.reported_by() else { continue };
            for from in TaskState::ALL {
                if let Ok(row) = transition(from, event) {
                    assert_eq!((row.to, row.by), (to, Actor::Worker));
                }
            }
        }
    }
}
