//! What can be done to the cluster. Each command looks at a draft, refuses with a reason and no change, or changes it.
//!
//! Commands are pure: ids, time and everything else that they need comes in. The writer runs them one after the other.

mod apps;
mod attempts;
mod claims;
mod configs;
mod deployments;
mod drains;
mod error;
mod housekeeping;
mod job_runs;
mod jobs;
mod moves;
mod needs;
mod nodes;
mod placements;
mod preemptions;
mod registrations;
mod reports;
mod rollouts;
mod tasks;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;
mod volumes;
mod waits;

pub use davit_proto::convert::Registration;

pub use self::apps::{
    AppChange, AppChanges, AppJobChange, AppJobStep, AppPlan, AppStep, DeletedApp, WantedApp, apply_app, delete_app,
    plan_app,
};
pub use self::attempts::shift_leases;
pub use self::claims::{has_ripe_claim, next_claim_due, settle_claims};
pub use self::configs::{NewConfig, delete_config, let_go_of_versions, put_config};
pub use self::deployments::{
    Named, NewDeployment, Wanted, create_deployment, delete_deployment, pause_rollout, promote_rollout, resume_rollout,
    roll_back_deployment, scale_deployment, update_deployment,
};
pub use self::drains::{
    advance_drains, cancel_drain, drain_for_worker, drain_node, has_drain_news, move_drained, note_stuck,
};
pub use self::error::{Error, JobError, Kind};
pub use self::housekeeping::{
    Leases, compact_events, has_expired, lose_tasks_of_down_nodes, remove_finished, replace_unbegun,
};
pub use self::job_runs::{reconcile_job, shift_runs};
pub use self::jobs::{
    NamedJob, NewJob, WantedJob, create_job, delete_job, pause_job, run_job, stop_job_run, update_job,
};
pub use self::moves::move_task;
pub use self::nodes::{
    note_away, note_goodbye, remove_node, set_cordon, set_node_state, set_runtime_health, set_user_labels,
};
pub use self::placements::{Placement, PlacementReport, Rejected, commit_placements, note_unplaced};
pub use self::preemptions::{PreemptionOrder, PreemptionReport, commit_preemptions};
pub use self::registrations::{Registered, register_node};
pub use self::reports::{ReportCounts, apply_reports};
pub use self::rollouts::{reconcile_deployment, restart_deadlines, shift_rollouts};
pub(crate) use self::tasks::WAITING_FOR_SCHEDULER;
pub use self::tasks::{Creation, Limits, NewTasks, create_tasks, delete_task, restart_task, stop_task};
pub use self::volumes::delete_volume;
