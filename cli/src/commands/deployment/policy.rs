//! The options that say how a deployment is updated. They are called as those of `docker service`.

use clap::{Args, ValueEnum};
use davit_proto::v1;

use crate::args::duration;

/// How tasks of a later version take the place of this one's.
#[derive(Debug, Default, PartialEq, Args)]
pub(super) struct PolicyArgs {
    /// How many slots are under way at one time, 0 for all; 1 unless given
    #[arg(long, value_name = "N")]
    update_parallelism: Option<u32>,
    /// Which task of a slot goes first: stop-first (the old one), start-first (the new one); stop-first unless given
    #[arg(long, value_enum, value_name = "ORDER")]
    update_order: Option<Order>,
    /// Wait so long between two slots, such as 10s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    update_delay: Option<prost_types::Duration>,
    /// How long a new task has to stay healthy; 5s unless given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    update_monitor: Option<prost_types::Duration>,
    /// Which share of the slots may fail, 0 to 1; 0 unless given
    #[arg(long, value_name = "RATIO")]
    update_max_failure_ratio: Option<f64>,
    /// How long no slot may get done; 10m unless given
    #[arg(long, value_name = "TIME", value_parser = duration)]
    update_progress_deadline: Option<prost_types::Duration>,
    /// What follows a failure: pause, rollback, continue; pause unless given
    #[arg(long, value_enum, value_name = "ACTION")]
    update_failure_action: Option<OnFailure>,
    /// How many slots get a new version first; the others follow when it is promoted
    #[arg(long, value_name = "N")]
    canaries: Option<u32>,
    /// Promote it as soon as the canaries are healthy
    #[arg(long)]
    auto_promote: bool,
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

impl PolicyArgs {
    /// A policy with what is given instead of what it has.
    pub(super) fn over(self, policy: Option<v1::UpdatePolicy>) -> Option<v1::UpdatePolicy> {
        if self == Self::default() {
            return policy;
        }
        let mut policy = policy.unwrap_or_default();
        policy.parallelism = self.update_parallelism.or(policy.parallelism);
        policy.delay = self.update_delay.or(policy.delay);
        policy.monitor = self.update_monitor.or(policy.monitor);
        policy.progress_deadline = self.update_progress_deadline.or(policy.progress_deadline);
        policy.max_failure_ratio = self.update_max_failure_ratio.unwrap_or(policy.max_failure_ratio);
        policy.canaries = self.canaries.unwrap_or(policy.canaries);
        policy.auto_promote |= self.auto_promote;
        if let Some(order) = self.update_order {
            policy.order = match order {
                Order::StopFirst => v1::UpdateOrder::StopFirst,
                Order::StartFirst => v1::UpdateOrder::StartFirst,
            }
            .into();
        }
        if let Some(action) = self.update_failure_action {
            policy.on_failure = match action {
                OnFailure::Pause => v1::RolloutFailureAction::Pause,
                OnFailure::Rollback => v1::RolloutFailureAction::Rollback,
                OnFailure::Continue => v1::RolloutFailureAction::Continue,
            }
            .into();
        }
        Some(policy)
    }
}
