//! Where in a Compose file a field of a deployment's or job's spec comes from.

use davit_compose::{Position, Service};

use super::refused::key;

/// Fields by the beginning of their path, the longer before the shorter, and the keys that they may come from, the likeliest first.
const SOURCES: [(&str, &[&str]); 65] = [
    ("name", &[]),
    ("labels", &["deploy.labels"]),
    ("completions", &["x-davit.job.completions", "deploy.replicas", "x-davit.job"]),
    ("parallelism", &["x-davit.job.parallelism", "x-davit.job"]),
    ("schedule.cron", &["x-davit.job.schedule"]),
    ("schedule.time_zone", &["x-davit.job.time_zone"]),
    ("schedule.start_deadline", &["x-davit.job.start_deadline"]),
    ("max_retries", &["x-davit.job.retries", "deploy.restart_policy.max_attempts", "x-davit.job"]),
    ("deadline", &["x-davit.job.deadline"]),
    ("time_to_live", &["x-davit.job.ttl"]),
    ("history", &["x-davit.job.history"]),
    ("replicated", &["deploy.replicas"]),
    ("update_policy.canaries", &["x-davit.canaries"]),
    ("update_policy.auto_promote", &["x-davit.auto_promote"]),
    ("update_policy.progress_deadline", &["x-davit.progress_deadline", "deploy.update_config"]),
    ("update_policy.parallelism", &["deploy.update_config.parallelism"]),
    ("update_policy.order", &["deploy.update_config.order"]),
    ("update_policy.delay", &["deploy.update_config.delay"]),
    ("update_policy.monitor", &["deploy.update_config.monitor"]),
    ("update_policy.max_failure_ratio", &["deploy.update_config.max_failure_ratio"]),
    ("update_policy", &["deploy.update_config"]),
    ("rollback_policy.parallelism", &["deploy.rollback_config.parallelism"]),
    ("rollback_policy.order", &["deploy.rollback_config.order"]),
    ("rollback_policy.delay", &["deploy.rollback_config.delay"]),
    ("rollback_policy.monitor", &["deploy.rollback_config.monitor"]),
    ("rollback_policy.max_failure_ratio", &["deploy.rollback_config.max_failure_ratio"]),
    ("rollback_policy", &["deploy.rollback_config"]),
    ("kept_versions", &["x-davit.kept_versions"]),
    ("start_after", &["depends_on"]),
    ("task.labels", &["labels"]),
    ("task.container.image", &["image"]),
    ("task.container.entrypoint", &["entrypoint"]),
    ("task.container.command", &["command"]),
    ("task.container.env", &["environment"]),
    ("task.container.working_dir", &["working_dir"]),
    ("task.container.user", &["user"]),
    ("task.container.mounts", &["volumes"]),
    ("task.container.files", &["configs", "secrets"]),
    ("task.container.ports", &["ports"]),
    ("task.container.tmpfs", &["tmpfs"]),
    ("task.container.cap_add", &["cap_add"]),
    ("task.container.cap_drop", &["cap_drop"]),
    ("task.container.ulimits", &["ulimits"]),
    ("task.container.network", &["networks"]),
    ("task.container.hostname", &["hostname"]),
    ("task.container.extra_hosts", &["extra_hosts"]),
    ("task.container.shm_size_bytes", &["shm_size"]),
    ("task.container.pids_limit", &["pids_limit", "deploy.resources.limits.pids", "deploy.resources"]),
    ("task.container.group_add", &["group_add"]),
    ("task.container.log_bounds.max_file_bytes", &["logging.options.max-size", "logging"]),
    ("task.container.log_bounds.max_files", &["logging.options.max-file", "logging"]),
    ("task.container.log_bounds", &["logging"]),
    ("task.resources", &["deploy.resources"]),
    ("task.constraints", &["deploy.placement"]),
    ("task.restart_policy", &["deploy.restart_policy", "restart"]),
    ("task.stop_policy.grace", &["stop_grace_period"]),
    ("task.on_node_loss", &["x-davit.on_node_loss"]),
    ("task.placement.algorithm", &["x-davit.algorithm"]),
    ("task.placement.platform", &["platform"]),
    ("task.placement.task_affinities", &["x-davit.colocate"]),
    ("task.placement", &["deploy.placement"]),
    ("task.health_check.interval", &["healthcheck.interval", "healthcheck"]),
    ("task.health_check.timeout", &["healthcheck.timeout", "healthcheck"]),
    ("task.health_check.retries", &["healthcheck.retries", "healthcheck"]),
    ("task.health_check", &["healthcheck"]),
];

/// Where the field at a path comes from, and the path of that key.
pub(super) fn told_at<'a>(service: &'a Service, field: &str) -> (&'a Position, String) {
    let field = field.trim_start_matches('.');
    let sources = SOURCES.iter().find(|(start, _)| field.starts_with(start)).map_or(&[][..], |(_, sources)| sources);
    // What is written elsewhere, or in no place of its own, is told at the service.
    match sources.iter().find(|source| service.positions.0.contains_key(**source)) {
        Some(source) => key(service, source),
        None => (&service.position, format!("services.{}", service.name)),
    }
}
