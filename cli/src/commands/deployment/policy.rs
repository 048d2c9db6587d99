//! The options that say how a deployment is updated. They are called as those of `docker service`.

use clap::{Args, ValueEnum};
use davit_proto::v1;

use crate::args::duration;

/// How tasks of a later version take the place of this one's.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "How updates are rolled out")]
pub(super) struct PolicyArgs {
    /// How many slots are under way at one time, 0 for all; 1 unless set
    #[arg(long, value_name = "N")]
    update_parallelism: Option<u32>,
    /// Which task of a slot goes first: stop-first (the old one), start-first (the new one); stop-first unless set
    #[arg(long, value_enum, value_name = "ORDER")]
    update_order: Option<Order>,
    /// Wait so long between two slots, such as 10s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    update_delay: Option<prost_types::Duration>,
    /// How long a new task has to stay healthy; 5s unless set
    #[arg(long, value_name = "TIME", value_parser = duration)]
    update_monitor: Option<prost_types::Duration>,
    /// Which share of the slots may fail, 0 to 1; 0 unless set
    #[arg(long, value_name = "RATIO")]
    update_max_failure_ratio: Option<f64>,
    /// How long no slot may get done; 10m unless set
    #[arg(long, value_name = "TIME", value_parser = duration)]
    update_progress_deadline: Option<prost_types::Duration>,
    /// What follows a failure: pause, rollback, continue; pause unless set
    #[arg(long, value_enum, value_name = "ACTION")]
    update_failure_action: Option<OnFailure>,
    /// How many slots get a new version first; the others follow when it is promoted
    #[arg(long, value_name = "N")]
    canaries: Option<u32>,
    /// Promote it as soon as the canaries are healthy; --auto-promote=false: by hand
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    auto_promote: Option<bool>,
}

/// The same for a rollback. Without any of it that is as an update, but pauses when it fails.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "How rollbacks are rolled out")]
pub(super) struct RollbackPolicyArgs {
    /// How many slots of a rollback are under way at one time, 0 for all; as in an update unless one of these is set
    #[arg(long, value_name = "N")]
    rollback_parallelism: Option<u32>,
    /// Which task of a slot goes first in a rollback: stop-first, start-first
    #[arg(long, value_enum, value_name = "ORDER")]
    rollback_order: Option<Order>,
    /// Wait so long between two slots of a rollback
    #[arg(long, value_name = "TIME", value_parser = duration)]
    rollback_delay: Option<prost_types::Duration>,
    /// How long a task that a rollback brings has to stay healthy
    #[arg(long, value_name = "TIME", value_parser = duration)]
    rollback_monitor: Option<prost_types::Duration>,
    /// Which share of the slots may fail in a rollback, 0 to 1
    #[arg(long, value_name = "RATIO")]
    rollback_max_failure_ratio: Option<f64>,
    /// How long no slot of a rollback may get done
    #[arg(long, value_name = "TIME", value_parser = duration)]
    rollback_progress_deadline: Option<prost_types::Duration>,
    /// What follows a failure in a rollback: pause, continue
    #[arg(long, value_enum, value_name = "ACTION")]
    rollback_failure_action: Option<OnFailedRollback>,
}

/// Which task of a slot goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// The old one
    StopFirst,
    /// The new one
    StartFirst,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnFailure {
    /// Nothing more is replaced
    Pause,
    /// The last version that was healthy comes back
    Rollback,
    /// It goes on
    Continue,
}

/// What follows the failure of a rollback, which is not rolled back itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnFailedRollback {
    /// Nothing more is replaced
    Pause,
    /// It goes on
    Continue,
}

impl From<OnFailure> for v1::RolloutFailureAction {
    fn from(action: OnFailure) -> Self {
        match action {
            OnFailure::Pause => Self::Pause,
            OnFailure::Rollback => Self::Rollback,
            OnFailure::Continue => Self::Continue,
        }
    }
}

impl From<OnFailedRollback> for v1::RolloutFailureAction {
    fn from(action: OnFailedRollback) -> Self {
        match action {
            OnFailedRollback::Pause => Self::Pause,
            OnFailedRollback::Continue => Self::Continue,
        }
    }
}

impl PolicyArgs {
    /// A policy with what is given instead of what it has.
    pub(super) fn over(self, policy: Option<v1::UpdatePolicy>) -> Option<v1::UpdatePolicy> {
        if self == Self::default() {
            return policy;
        }
        let mut policy = policy.unwrap_or_default();
        policy.canaries = self.canaries.unwrap_or(policy.canaries);
        policy.auto_promote = self.auto_promote.unwrap_or(policy.auto_promote);
        let pace = Pace {
            parallelism: self.update_parallelism,
            order: self.update_order,
            delay: self.update_delay,
            monitor: self.update_monitor,
            max_failure_ratio: self.update_max_failure_ratio,
            progress_deadline: self.update_progress_deadline,
            on_failure: self.update_failure_action.map(Into::into),
        };
        Some(pace.over(policy))
    }
}

impl RollbackPolicyArgs {
    /// A policy with what is given instead of what it has.
    pub(super) fn over(self, policy: Option<v1::UpdatePolicy>) -> Option<v1::UpdatePolicy> {
        if self == Self::default() {
            return policy;
        }
        let pace = Pace {
            parallelism: self.rollback_parallelism,
            order: self.rollback_order,
            delay: self.rollback_delay,
            monitor: self.rollback_monitor,
            max_failure_ratio: self.rollback_max_failure_ratio,
            progress_deadline: self.rollback_progress_deadline,
            on_failure: self.rollback_failure_action.map(Into::into),
        };
        Some(pace.over(policy.unwrap_or_default()))
    }
}

/// What is given of what both have.
struct Pace {
    parallelism: Option<u32>,
    order: Option<Order>,
    delay: Option<prost_types::Duration>,
    monitor: Option<prost_types::Duration>,
    max_failure_ratio: Option<f64>,
    progress_deadline: Option<prost_types::Duration>,
    on_failure: Option<v1::RolloutFailureAction>,
}

impl Pace {
    fn over(self, mut policy: v1::UpdatePolicy) -> v1::UpdatePolicy {
        policy.parallelism = self.parallelism.or(policy.parallelism);
        policy.delay = self.delay.or(policy.delay);
        policy.monitor = self.monitor.or(policy.monitor);
        policy.progress_deadline = self.progress_deadline.or(policy.progress_deadline);
        policy.max_failure_ratio = self.max_failure_ratio.unwrap_or(policy.max_failure_ratio);
        if let Some(order) = self.order {
            policy.order = match order {
                Order::StopFirst => v1::UpdateOrder::StopFirst,
                Order::StartFirst => v1::UpdateOrder::StartFirst,
            }
            .into();
        }
        if let Some(action) = self.on_failure {
            policy.on_failure = action.into();
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        update: PolicyArgs,
        #[command(flatten)]
        rollback: RollbackPolicyArgs,
    }

    fn line(words: &[&str]) -> Line {
        Line::try_parse_from([&["davit"][..], words].concat()).unwrap()
    }

    #[test]
    fn promotion_by_itself_is_turned_on_and_off_again() {
        let promotes = |words: &[&str], before: bool| {
            let before = v1::UpdatePolicy { auto_promote: before, ..Default::default() };
            line(words).update.over(Some(before)).unwrap().auto_promote
        };
        assert!(promotes(&["--auto-promote"], false) && promotes(&["--canaries", "1"], true));
        assert!(!promotes(&["--auto-promote=false"], true) && !promotes(&["--canaries", "1"], false));
    }

    #[test]
    fn an_update_that_fails_can_be_rolled_back_and_a_rollback_can_not() {
        let update = line(&["--update-failure-action", "rollback"]).update.over(None).unwrap();
        assert_eq!(update.on_failure(), v1::RolloutFailureAction::Rollback);
        let rollback = line(&["--rollback-failure-action", "continue"]).rollback.over(None).unwrap();
        assert_eq!(rollback.on_failure(), v1::RolloutFailureAction::Continue);
        let refused = Line::try_parse_from(["davit", "--rollback-failure-action", "rollback"]).unwrap_err();
        assert!(refused.to_string().contains("[possible values: pause, continue]"), "{refused}");
    }

    #[test]
    fn a_rollback_has_a_policy_of_its_own_only_when_something_of_it_is_given() {
        assert_eq!(line(&["--update-parallelism", "3"]).rollback.over(None), None);
        let rollback = line(&["--rollback-parallelism", "0", "--rollback-order", "start-first"]).rollback;
        let policy = rollback.over(None).unwrap();
        assert_eq!((policy.parallelism, policy.order()), (Some(0), v1::UpdateOrder::StartFirst));
    }
}
