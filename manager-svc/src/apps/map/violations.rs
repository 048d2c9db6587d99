//! Where in a Compose file a field of a deployment's spec comes from.

use davit_compose::{Position, Service};

use super::refused::key;

/// Fields by the beginning of their path, the longer before the shorter, and the key that they come from.
const SOURCES: [(&str, &str); 46] = [
    ("name", ""),
    ("labels", "deploy.labels"),
    ("completions", "x-davit.job"),
    ("parallelism", "x-davit.job"),
    ("schedule", "x-davit.job"),
    ("max_retries", "x-davit.job"),
    ("deadline", "x-davit.job"),
    ("time_to_live", "x-davit.job"),
    ("replicated", "deploy.replicas"),
    ("update_policy", "deploy.update_config"),
    ("rollback_policy", "deploy.rollback_config"),
    ("kept_versions", "x-davit.kept_versions"),
    ("start_after", "depends_on"),
    ("task.labels", "labels"),
    ("task.container.image", "image"),
    ("task.container.entrypoint", "entrypoint"),
    ("task.container.command", "command"),
    ("task.container.env", "environment"),
    ("task.container.working_dir", "working_dir"),
    ("task.container.user", "user"),
    ("task.container.mounts", "volumes"),
    ("task.container.files", "configs"),
    ("task.container.files", "secrets"),
    ("task.container.ports", "ports"),
    ("task.container.tmpfs", "tmpfs"),
    ("task.container.cap_add", "cap_add"),
    ("task.container.cap_drop", "cap_drop"),
    ("task.container.ulimits", "ulimits"),
    ("task.container.network", "networks"),
    ("task.container.hostname", "hostname"),
    ("task.container.extra_hosts", "extra_hosts"),
    ("task.container.shm_size_bytes", "shm_size"),
    ("task.container.pids_limit", "pids_limit"),
    ("task.container.pids_limit", "deploy.resources"),
    ("task.container.group_add", "group_add"),
    ("task.container.log_bounds", "logging"),
    ("task.resources", "deploy.resources"),
    ("task.constraints", "deploy.placement"),
    ("task.restart_policy", "restart"),
    ("task.stop_policy.grace", "stop_grace_period"),
    ("task.on_node_loss", "x-davit.on_node_loss"),
    ("task.placement.algorithm", "x-davit.algorithm"),
    ("task.placement.platform", "platform"),
    ("task.placement.task_affinities", "x-davit.colocate"),
    ("task.placement", "deploy.placement"),
    ("task.health_check", "healthcheck"),
];

/// Where the field at a path comes from, and the path of that key.
pub(super) fn told_at<'a>(service: &'a Service, field: &str) -> (&'a Position, String) {
    let field = field.trim_start_matches('.');
    let first = SOURCES.iter().find(|(start, _)| field.starts_with(start)).map(|(start, _)| *start);
    let mut sources = SOURCES.iter().filter(|(start, _)| Some(*start) == first).map(|(_, source)| *source);
    // What is written elsewhere, or in no place of its own, is told at the service.
    match sources.find(|source| service.positions.0.contains_key(*source)) {
        Some(source) => key(service, source),
        None => (&service.position, format!("services.{}", service.name)),
    }
}
