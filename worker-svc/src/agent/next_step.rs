//! Decides the next step of one attempt. Pure: it neither waits nor asks, and says why.
//!
//! What is wanted may change at any time, what is known only grows: an attempt's phase never goes back to one in which
//! it could start again after it has ended, and an attempt that was asked to stop is never started.

use std::time::Duration;

use davit_core::id::Attempt;

use super::local_restart::AfterEnd;
use crate::runtime::{Error, ErrorKind};

/// A pull that keeps breaking is given up after so many tries.
const MAX_PULL_TRIES: u32 = 5;
/// Or after so long, whichever is first.
const MAX_PULL_TIME: Duration = Duration::from_secs(120);
/// An instance that vanishes again and again before its start is given up after so many tries.
const MAX_VANISHED_TRIES: u32 = 5;

const START_UNDER_WAY: &str = "it is not to start, and a start that was not answered may be under way";
const RESTART_UNDER_WAY: &str = "it ended, and a restart that was not answered may be under way";

/// What is wanted of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// It was found at the worker's start; the manager has not said yet what becomes of it.
    Undecided,
    /// It is to run.
    Run,
    /// It is to stop; what is left of it stays to be looked at.
    Stop,
    /// It is to stop, and nothing of it is to stay.
    Remove,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It has an instance or had one, but its runtime could not be asked yet.
    Unknown,
    /// Nothing was done.
    New,
    /// What it needs is on the node.
    Prepared,
    /// It has an instance that never started.
    Created,
    /// It was started, and its end was not seen.
    Started,
    /// Its end was seen and not reported.
    Exited,
    /// Its end is reported. An instance may be left.
    Ended,
    /// Nothing is left of it.
    Gone,
}

/// What is wanted and what is known of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// What is wanted.
    pub want: Want,
    /// How far it is.
    pub phase: Phase,
    /// Whether it was ever asked to stop. Never forgotten, also by a worker that is restarted.
    pub asked_to_stop: bool,
    /// Whether its runtime was asked to start it, and its answer never came: the start may yet take place.
    pub start_tried: bool,
    /// Whether a step on its way to a start failed for good.
    pub failed: bool,
    /// Whether its runtime was asked to start it again after its end, and its answer never came: that may yet take place.
    pub restart_tried: bool,
    /// Whether its health check has failed for good, so that it is to be stopped. That is not to be asked to stop: it failed.
    pub is_unhealthy: bool,
    /// Whether its runtime told right before this what became of it.
    pub looked: bool,
    /// An earlier attempt of the task that still runs here.
    pub earlier: Option<Attempt>,
    /// Whether a later attempt of the task may have been placed elsewhere, since the manager was out of reach for so long and
    /// has not said yet that this one stands.
    pub may_be_overtaken: bool,
    /// Whether it must never run twice, and another worker of this node may still run it.
    pub may_run_elsewhere: bool,
    /// Whether there is no room for its start before something has ended here that the manager counts no longer.
    pub is_crowded: bool,
    /// What to do about its end. Of no meaning before.
    pub after_end: AfterEnd,
}

/// The one thing to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Ask the runtime what became of it.
    Look,
    /// Get what it needs, such as its image.
    Prepare,
    /// Create its instance.
    Create,
    /// Start its instance.
    Start,
    /// Wait for its end.
    Watch,
    /// Stop it.
    Stop,
    /// Remove its instance, which does not run, so that a start or restart which is still under way comes to nothing. Its output
    /// is lost with it.
    Discard,
    /// Start its instance again, which has ended.
    Restart,
    /// Report its end.
    ReportEnd,
    /// Remove its instance.
    Remove,
    /// Wait until something changes.
    Wait,
    /// All is ready for its start, which has to wait for something.
    Hold(Hold),
    /// Forget it.
    Done,
}

/// What a start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// The end of this earlier attempt.
    Earlier(Attempt),
    /// The manager's word that it still stands.
    Manager,
    /// The end of the lease under which another worker of this node may run it.
    Lease,
    /// Room that is still taken up.
    Room,
}

/// A step, and why it is the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub step: Step,
    /// For people.
    pub why: &'static str,
}

/// Decides what is next.
#[must_use]
pub fn next_step(view: &View) -> Decision {
    let decide = |step, why| Decision { step, why };
    match (view.want, view.phase) {
        (_, Phase::Gone) => decide(Step::Done, "nothing is left of it"),
        (_, Phase::Unknown) => decide(Step::Look, "its runtime has not told yet what became of it"),

        (Want::Remove, Phase::New | Phase::Prepared | Phase::Created | Phase::Exited | Phase::Ended) => {
            decide(Step::Remove, "it does not run and nothing of it is wanted")
        }
        (Want::Remove | Want::Stop, Phase::Started) => decide(Step::Stop, "it runs and is not to run"),
        (Want::Stop, Phase::Created) if view.start_tried => discard(view, START_UNDER_WAY),
        (Want::Stop, Phase::New | Phase::Prepared | Phase::Created) => {
            decide(Step::ReportEnd, "it was stopped before its start")
        }

        (Want::Run, Phase::Created) if (view.asked_to_stop || view.failed) && view.start_tried => {
            discard(view, START_UNDER_WAY)
        }
        (Want::Run, Phase::New | Phase::Prepared | Phase::Created) if view.asked_to_stop => {
            decide(Step::ReportEnd, "it was asked to stop once, so it never starts")
        }
        (Want::Run, Phase::New | Phase::Prepared | Phase::Created) if view.failed => {
            decide(Step::ReportEnd, "it can't be started")
        }
        (Want::Run, Phase::New) => decide(Step::Prepare, "it is wanted and not prepared"),
        (Want::Run, Phase::Prepared) => decide(Step::Create, "it is prepared and has no instance"),
        (Want::Run, Phase::Created) => {
            if let Some(earlier) = view.earlier {
                decide(Step::Hold(Hold::Earlier(earlier)), "an earlier attempt of its task still runs here")
            } else if view.may_be_overtaken {
                decide(
                    Step::Hold(Hold::Manager),
                    "the manager was out of reach, and has not said yet that it is still to run",
                )
            } else if view.may_run_elsewhere {
                decide(
                    Step::Hold(Hold::Lease),
                    "another worker of this node may have begun it before this one was started",
                )
            } else if view.is_crowded {
                decide(Step::Hold(Hold::Room), "what the manager counts no longer still takes up room here")
            } else {
                decide(Step::Start, "it has an instance that never started")
            }
        }
        (Want::Run, Phase::Started) if view.asked_to_stop => decide(Step::Stop, "its stop was begun and not finished"),
        (Want::Run | Want::Undecided, Phase::Started) if view.is_unhealthy => {
            decide(Step::Stop, "its health check has failed")
        }
        (Want::Run, Phase::Started) => decide(Step::Watch, "it runs as it is to"),

        (Want::Undecided, Phase::New | Phase::Prepared | Phase::Created) => {
            decide(Step::Wait, "the manager has not said whether it is to run")
        }
        (Want::Undecided, Phase::Started) => decide(Step::Watch, "it runs, and nobody asked for another thing"),

        (Want::Undecided | Want::Run, Phase::Exited) if !view.asked_to_stop => match view.after_end {
            AfterEnd::Report if view.restart_tried => discard(view, RESTART_UNDER_WAY),
            AfterEnd::Report => decide(Step::ReportEnd, "its end was seen"),
            AfterEnd::Hold => decide(Step::Wait, "it ended; the manager may be back, or its back-off has not passed"),
            AfterEnd::Restart if view.restart_tried && !view.looked => {
                decide(Step::Look, "a restart that was not answered may have taken place, and ended")
            }
            AfterEnd::Restart => decide(Step::Restart, "it ended, and the manager is out of reach"),
        },
        (Want::Undecided | Want::Run | Want::Stop, Phase::Exited) if view.restart_tried => {
            discard(view, RESTART_UNDER_WAY)
        }
        (Want::Undecided | Want::Run | Want::Stop, Phase::Exited) => decide(Step::ReportEnd, "its end was seen"),
        (Want::Undecided | Want::Run | Want::Stop, Phase::Ended) => {
            decide(Step::Wait, "it ended; what is left stays until its retention passes")
        }
    }
}

/// What may still start is removed; what has started by now is stopped as it asks for, or goes on.
fn discard(view: &View, why: &'static str) -> Decision {
    Decision { step: if view.looked { Step::Discard } else { Step::Look }, why }
}

/// What follows a step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// Try again after a while.
    Retry,
    /// It can't be started: the attempt failed.
    Fail,
    /// Go on from this phase.
    Continue(Phase),
}

/// Decides what follows a step that failed. `tries` counts this step's failures in a row, this one among them.
#[must_use]
pub fn after_failure(step: Step, error: &Error, tries: u32, since_first: Duration) -> AfterFailure {
    let pull_broke = matches!(error, Error::PullFailed { .. } | Error::PullStalled { .. });
    match (step, error.kind()) {
        (Step::Remove, ErrorKind::NotFound) => AfterFailure::Continue(Phase::Gone),
        // Its end is reported as it was.
        (Step::Restart, ErrorKind::Permanent | ErrorKind::NotFound) => AfterFailure::Continue(Phase::Exited),
        (Step::Watch | Step::Stop, ErrorKind::NotFound) if matches!(error, Error::NotStarted { .. }) => {
            AfterFailure::Continue(Phase::Created)
        }
        (Step::Watch | Step::Stop, ErrorKind::NotFound) => AfterFailure::Continue(Phase::Exited),
        (Step::Start, ErrorKind::NotFound) if matches!(error, Error::AlreadyExited { .. }) => {
            AfterFailure::Continue(Phase::Started)
        }
        (Step::Create, ErrorKind::NotFound)
            if matches!(error, Error::ImageGone { .. }) && tries < MAX_VANISHED_TRIES =>
        {
            AfterFailure::Continue(Phase::New)
        }
        (Step::Start, ErrorKind::NotFound) if tries < MAX_VANISHED_TRIES => AfterFailure::Continue(Phase::Prepared),
        (Step::Prepare, ErrorKind::Unavailable)
            if pull_broke && (tries >= MAX_PULL_TRIES || since_first >= MAX_PULL_TIME) =>
        {
            AfterFailure::Fail
        }
        // What runs or lies about can't be left alone, whatever the engine says.
        (
            Step::Watch | Step::Stop | Step::Discard | Step::Remove | Step::Look,
            ErrorKind::Permanent | ErrorKind::NotFound,
        ) => AfterFailure::Retry,
        (_, ErrorKind::Unavailable) => AfterFailure::Retry,
        (_, ErrorKind::Permanent | ErrorKind::NotFound) => AfterFailure::Fail,
    }
}

#[cfg(test)]
mod tests;
