//! Between protobuf messages and domain types; the only place where both are seen.
//!
//! Inwards, `X_from_proto(message, path, violations)` gives the domain value, or `None` after it noted **everything** that is
//! wrong, each with its field path from the request's root as protobuf names it (`spec.container.ports[1].host_port`).
//! `path` is where the message stands in the request, as text or as [`FieldPath`]; empty for the request itself. Outwards,
//! `x_to_proto` can't fail.
//! Nothing here panics, whatever comes in.

mod common;
mod container;
mod deployment;
mod enums;
mod file;
mod foreign;
mod health;
mod job;
mod kernel;
mod node;
mod path;
mod placement;
mod placement_policy;
mod policy;
mod port;
mod requirements;
mod resources;
mod runtime_health;
mod session;
mod settings;
mod spec_numbers;
mod task;
mod task_spec;
mod text;

#[cfg(test)]
mod tests;

pub use self::common::{
    MAX_LABELS, attempt_from_proto, duration_from_proto, duration_to_proto, etag, labels_from_proto, parse_node_id,
    parse_session_id, parse_task_id, required, timestamp_from_proto, timestamp_to_proto,
};
pub use self::deployment::{
    DeploymentCounts, DeploymentSettings, DeploymentView, MAX_AUTHOR_BYTES, deployment_etag,
    deployment_settings_from_proto, deployment_spec_from_proto, deployment_spec_to_proto, deployment_spec_without_task,
    deployment_to_proto,
};
pub use self::enums::{
    desired_state_from_proto, desired_state_to_proto, node_state_from_proto, node_state_to_proto,
    node_states_from_proto, port_protocol_from_proto, port_protocol_to_proto, pull_policy_from_proto,
    pull_policy_to_proto, restart_mode_from_proto, restart_mode_to_proto, rollout_state_from_proto,
    rollout_state_to_proto, rollout_states_from_proto, runtime_kind_from_proto, runtime_kind_to_proto,
    runtime_kinds_from_proto, task_state_from_proto, task_state_to_proto, task_states_from_proto,
};
pub use self::file::{
    MAX_FILES, config_kind_from_proto, config_kind_to_proto, config_name_from_proto, config_to_proto,
    content_from_proto,
};
pub use self::foreign::{ForeignAttempt, MAX_FOREIGN_ATTEMPTS, foreign_attempts_from_proto, foreign_attempts_to_proto};
pub use self::job::{
    JobSettings, job_etag, job_settings_from_proto, job_spec_from_proto, job_spec_to_proto, job_spec_without_task,
    job_to_proto, missed_from_proto, missed_to_proto, ranges_to_proto,
};
pub use self::node::{NodeUsage, node_stats_from_proto, node_stats_to_proto, node_to_proto};
pub use self::path::FieldPath;
pub use self::placement::{
    NodeCost, PlacementGroup, node_scores_from_proto, node_view_from_proto, node_view_to_proto, node_views_from_proto,
    placement_group_from_proto, placement_group_to_proto, placement_groups_from_proto,
};
pub use self::policy::{
    on_node_loss_from_proto, on_node_loss_to_proto, restart_policy_from_proto, restart_policy_to_proto,
    stop_policy_from_proto, stop_policy_to_proto,
};
pub use self::port::{port_range_from_proto, port_range_to_proto};
pub use self::requirements::{
    host_port_to_proto, preferences_from_proto, preferences_to_proto, requirements_from_proto, requirements_to_proto,
};
pub use self::resources::{
    MAX_BYTES, MAX_TASK_CPU_MILLIS, node_resources_from_proto, resource_requirements_to_proto, resources_to_proto,
    task_resources_from_proto,
};
pub use self::runtime_health::{
    RuntimeHealth, runtime_health_from_proto, runtime_health_to_proto, runtime_problems_to_proto,
};
pub use self::session::{
    Assignment, LAST_REGISTRATION_NUMBER, LONGEST_AWAY, REGISTRATION_OVERTAKEN, Registration, SECOND_WORKER, Welcome,
    assignment_from_proto, assignment_to_proto, attempt_ref_from_proto, attempt_ref_to_proto,
    attempt_report_from_proto, attempt_report_to_proto, register_from_proto, register_to_proto,
    status_report_from_proto, welcome_from_proto, welcome_to_proto,
};
pub use self::spec_numbers::{KnownSpecs, MAX_SPEC_NUMBERS, SentSpecs};
pub use self::task::{MAX_BATCH_TASKS, TaskGroup, attempt_status_to_proto, task_groups_from_proto, task_to_proto};
pub use self::task_spec::{
    MAX_CONSTRAINTS, MAX_SPEC_BYTES, constraints_from_proto, task_spec_from_proto, task_spec_to_proto,
};
pub use self::text::{MAX_REASON_BYTES, kept_reason};
