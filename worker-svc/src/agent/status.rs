//! What is told of an attempt: how it is when the worker begins to hold it, while it runs, and how it ended. Pure.

use davit_core::id::Attempt;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use jiff::Timestamp;

use super::local_restart::Plan;
use crate::local_store::{Mark, Record, Unhealthy};
use crate::runtime::{Exit, InstanceState, Started};

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
/// `has_check`: whether it has a health check, as far as is known.
pub(super) fn first_status(
    attempt: Attempt,
    start: &Start,
    record: &Record,
    has_check: bool,
    now: Timestamp,
) -> AttemptStatus {
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
            set_started(&mut status, started, !has_check);
            if has_check {
                stays_ready(&mut status, record, started);
            }
            if asked_to_stop {
                (status.state, status.ready) = (TaskState::Stopping, false);
            }
        }
        // Its end is not told before it is final.
        Start::Ended(exit, plan) => {
            let ports = record.known.as_ref().map(|known| known.status.ports.clone()).unwrap_or_default();
            let started = Started { started_at: exit.started_at.unwrap_or(exit.finished_at), ports };
            set_started(&mut status, &started, false);
            set_waiting(&mut status, plan);
            if asked_to_stop {
                status.state = TaskState::Stopping;
            }
        }
        Start::Found(InstanceState::Exited(exit)) => {
            let unhealthy = record.unhealthy_in(exit.started_at);
            set_ended(&mut status, ending(exit, asked_to_stop, unhealthy), Some(exit), now);
        }
        Start::Missing => set_ended(&mut status, ending_without_exit(true, asked_to_stop), None, now),
        Start::Unknown => "its runtime has not told yet what became of it".clone_into(&mut status.reason),
    }
    status
}

/// It runs; whether it serves is not known yet if it has a health check.
pub(super) fn set_started(status: &mut AttemptStatus, started: &Started, ready: bool) {
    status.state = TaskState::Running;
    status.ready = ready;
    status.reason.clear();
    status.pull = None;
    status.ports.clone_from(&started.ports);
    status.started_at = Some(started.started_at);
}

/// An earlier worker knew whether this run serves: so it is until a probe says otherwise.
pub(super) fn stays_ready(status: &mut AttemptStatus, record: &Record, started: &Started) {
    if let Some(known) = record.known_running(started.started_at) {
        status.ready = known.ready;
        status.reason.clone_from(&known.reason);
    }
}

/// It serves.
pub(super) fn set_ready(status: &mut AttemptStatus) {
    status.ready = true;
    status.reason.clear();
}

/// It does not serve.
pub(super) fn set_not_ready(status: &mut AttemptStatus, reason: &str) {
    status.ready = false;
    reason.clone_into(&mut status.reason);
}

/// It ended, and what follows is not decided.
pub(super) fn set_waiting(status: &mut AttemptStatus, plan: &Plan) {
    if let Plan::Restart { why, .. } = plan {
        status.ready = false;
        status.reason.clone_from(why);
    }
}

pub(super) fn set_ended(status: &mut AttemptStatus, ending: Ending, exit: Option<&Exit>, now: Timestamp) {
    status.state = ending.state;
    status.reason = ending.reason;
    status.ready = false;
    status.pull = None;
    status.exit_code = exit.and_then(Exit::known_code);
    status.oom_killed = exit.is_some_and(|exit| exit.oom_killed);
    status.started_at = status.started_at.or(exit.and_then(|exit| exit.started_at));
    status.finished_at = Some(exit.map_or(now, |exit| exit.finished_at));
}

/// How an attempt ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// COMPLETED, FAILED or STOPPED.
    pub state: TaskState,
    /// For people.
    pub reason: String,
}

/// What an exit means. One that was asked to stop is STOPPED, and one that was stopped because it did not serve FAILED, whatever it
/// returned.
#[must_use]
pub(super) fn ending(exit: &Exit, asked_to_stop: bool, unhealthy: Option<&Unhealthy>) -> Ending {
    if asked_to_stop || exit.lease_ended {
        return Ending { state: TaskState::Stopped, reason: exit.error.clone() };
    }
    if let Some(unhealthy) = unhealthy {
        return Ending { state: TaskState::Failed, reason: unhealthy.reason.clone() };
    }
    if exit.exit_code == 0 && !exit.oom_killed {
        return Ending { state: TaskState::Completed, reason: String::new() };
    }
    let code = exit.known_code();
    let reason = match (exit.oom_killed, exit.error.as_str()) {
        (false, error) if code.is_none() => format!("nobody knows its exit code: {error}"),
        (true, "") => "was killed because it was out of memory".to_owned(),
        (true, error) => format!("was killed because it was out of memory: {error}"),
        (false, "") => format!("exited with code {}", exit.exit_code),
        (false, error) => format!("exited with code {}: {error}", exit.exit_code),
    };
    Ending { state: TaskState::Failed, reason }
}

/// The end of an attempt that has no exit: it never started, or its instance is gone.
#[must_use]
pub(super) fn ending_without_exit(started: bool, asked_to_stop: bool) -> Ending {
    match (asked_to_stop, started) {
        (true, true) => Ending { state: TaskState::Stopped, reason: String::new() },
        (true, false) => Ending { state: TaskState::Stopped, reason: "was stopped before it was started".to_owned() },
        (false, _) => Ending {
            state: TaskState::Failed,
            reason: "its container or process is gone: it was removed from outside, or the worker or machine restarted"
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
