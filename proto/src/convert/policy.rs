//! The policies of a task: restart, stop, node loss.

use std::time::Duration;

use davit_core::restart::RestartPolicy;
use davit_core::spec::{OnNodeLoss, STOP_SIGNALS, StopPolicy};
use davit_core::validate::Violations;

use super::common::{duration_from_proto, duration_to_proto};
use super::enums::{known, restart_mode_from_proto, restart_mode_to_proto};
use super::path::{FieldPath, field};
use crate::v1;

const MIN_RESTART_DELAY: Duration = Duration::from_millis(100);
const MAX_POLICY_TIME: Duration = Duration::from_secs(24 * 3600);
const MAX_STOP_GRACE: Duration = Duration::from_secs(3600);

/// Reads a span of time that has a default and an upper bound.
pub(super) fn bounded(
    duration: Option<prost_types::Duration>,
    default: Duration,
    (max, max_in_words): (Duration, &str),
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Duration> {
    let Some(duration) = duration else { return Some(default) };
    let duration = duration_from_proto(duration, path, violations)?;
    if duration > max {
        violations.add(path, format!("is at most {max_in_words}"));
        return None;
    }
    Some(duration)
}

/// Reads what follows the end of an attempt; nothing, unless given.
pub fn restart_policy_from_proto<'a>(
    policy: Option<v1::RestartPolicy>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<RestartPolicy> {
    let path = &path.into();
    let default = RestartPolicy::default();
    let Some(policy) = policy else { return Some(default) };
    let day = (MAX_POLICY_TIME, "24 h");
    let (initial_path, max_path) = (field(path, "initial_delay"), field(path, "max_delay"));
    let mode = restart_mode_from_proto(policy.mode, field(path, "mode"), violations);
    let initial_delay =
        bounded(policy.initial_delay, default.initial_delay, day, &initial_path, violations).filter(|delay| {
            let long_enough = *delay >= MIN_RESTART_DELAY;
            if !long_enough {
                violations.add(initial_path, "is at least 100 ms");
            }
            long_enough
        });
    let max_delay = bounded(policy.max_delay, default.max_delay, day, &max_path, violations);
    let reset_path = field(path, "reset_after");
    let reset_after = bounded(policy.reset_after, default.reset_after, day, &reset_path, violations);
    let (initial_delay, max_delay) = (initial_delay?, max_delay?);
    if max_delay < initial_delay {
        let (given, least) = (max_delay.as_secs_f64(), initial_delay.as_secs_f64());
        let unset = if policy.max_delay.is_none() { ", its default," } else { "" };
        violations.add(max_path, format!("{given} s{unset} is below the initial delay of {least} s"));
        return None;
    }
    let max_attempts = policy.max_attempts;
    Some(RestartPolicy { mode: mode?, max_attempts, initial_delay, max_delay, reset_after: reset_after? })
}

/// Writes what follows the end of an attempt.
#[must_use]
pub fn restart_policy_to_proto(policy: &RestartPolicy) -> v1::RestartPolicy {
    v1::RestartPolicy {
        mode: restart_mode_to_proto(policy.mode).into(),
        max_attempts: policy.max_attempts,
        initial_delay: Some(duration_to_proto(policy.initial_delay)),
        max_delay: Some(duration_to_proto(policy.max_delay)),
        reset_after: Some(duration_to_proto(policy.reset_after)),
    }
}

/// Reads how an attempt is stopped.
pub fn stop_policy_from_proto<'a>(
    policy: Option<v1::StopPolicy>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<StopPolicy> {
    let path = &path.into();
    let default = StopPolicy::default();
    let Some(policy) = policy else { return Some(default) };
    let signal_known = policy.signal.is_empty() || STOP_SIGNALS.contains(&policy.signal.as_str());
    if !signal_known {
        violations.add(field(path, "signal"), format!("is not a stop signal; use one of {}", STOP_SIGNALS.join(", ")));
    }
    let hour = (MAX_STOP_GRACE, "1 h");
    let grace = bounded(policy.grace, default.grace, hour, &field(path, "grace"), violations)?;
    signal_known.then_some(StopPolicy { signal: policy.signal, grace })
}

/// Writes how an attempt is stopped.
#[must_use]
pub fn stop_policy_to_proto(policy: &StopPolicy) -> v1::StopPolicy {
    v1::StopPolicy { signal: policy.signal.clone(), grace: Some(duration_to_proto(policy.grace)) }
}

/// Reads what the manager does when the node goes down; it replaces at once, unless given.
pub fn on_node_loss_from_proto<'a>(
    policy: Option<v1::NodeLossPolicy>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<OnNodeLoss> {
    let path = &path.into();
    let Some(policy) = policy else { return Some(OnNodeLoss::default()) };
    let wait_path = field(path, "wait");
    let action = known(policy.action, &field(path, "action"), violations);
    let wait = match policy.wait {
        Some(wait) => {
            let day = (MAX_POLICY_TIME, "24 h");
            Some(bounded(Some(wait), Duration::ZERO, day, &wait_path, violations)?)
        }
        None => None,
    };
    match (action?, wait) {
        (v1::NodeLossAction::Unspecified | v1::NodeLossAction::Replace, None) => Some(OnNodeLoss::Replace),
        (v1::NodeLossAction::StopAndReplace, None) => Some(OnNodeLoss::StopAndReplace),
        (
            v1::NodeLossAction::Unspecified | v1::NodeLossAction::Replace | v1::NodeLossAction::StopAndReplace,
            Some(_),
        ) => {
            violations.add(wait_path, "has a meaning only with NODE_LOSS_ACTION_WAIT");
            None
        }
        (v1::NodeLossAction::Wait, None) => {
            violations.add(wait_path, "is needed with NODE_LOSS_ACTION_WAIT");
            None
        }
        (v1::NodeLossAction::Wait, Some(Duration::ZERO)) => {
            violations.add(wait_path, "must be above zero; to not wait use NODE_LOSS_ACTION_REPLACE");
            None
        }
        (v1::NodeLossAction::Wait, Some(wait)) => Some(OnNodeLoss::Wait(wait)),
    }
}

/// Writes what the manager does when the node goes down.
#[must_use]
pub fn on_node_loss_to_proto(policy: OnNodeLoss) -> v1::NodeLossPolicy {
    match policy {
        OnNodeLoss::Replace => v1::NodeLossPolicy { action: v1::NodeLossAction::Replace.into(), wait: None },
        OnNodeLoss::Wait(wait) => {
            let wait = Some(duration_to_proto(wait));
            v1::NodeLossPolicy { action: v1::NodeLossAction::Wait.into(), wait }
        }
        OnNodeLoss::StopAndReplace => {
            v1::NodeLossPolicy { action: v1::NodeLossAction::StopAndReplace.into(), wait: None }
        }
    }
}
