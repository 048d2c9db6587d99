//! Deployments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::{
    DEFAULT_KEPT_VERSIONS, Dependency, Deployment, DeploymentMode, DeploymentSpec, MAX_DEPENDENCIES, MAX_KEPT_VERSIONS,
    MAX_REPLICAS, Rollout, RolloutState, UpdatePolicy, Version,
};
use davit_core::spec::{TaskSpec, check_app_name, check_name};
use davit_core::validate::Violations;

use super::common::{MAX_LABELS, duration_to_proto, labels_from_proto, required, timestamp_to_proto};
use super::enums::{
    dependency_condition_from_proto, dependency_condition_to_proto, on_rollout_failure_from_proto,
    on_rollout_failure_to_proto, rollout_state_to_proto, update_order_from_proto, update_order_to_proto,
};
use super::path::{FieldPath, field, item};
use super::policy::{MAX_POLICY_TIME, bounded};
use super::task_spec::{task_spec_from_proto, task_spec_to_proto};
use crate::v1;

/// The longest text that says who made a version.
pub const MAX_AUTHOR_BYTES: usize = 128;

/// How the tasks of a deployment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeploymentCounts {
    /// How many there are to be.
    pub desired: u32,
    /// How many are to run and are of the newest version.
    pub updated: u32,
    /// How many are to run and are of an older one.
    pub outdated: u32,
    /// How many of both are ready.
    pub ready: u32,
    /// How many are being stopped.
    pub stopping: u32,
    /// How many of those that are to run have done their work.
    pub completed: u32,
}

/// What is told of a deployment beside itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeploymentView {
    /// How its tasks are.
    pub counts: Option<DeploymentCounts>,
    /// What is wrong with them.
    pub trouble: String,
    /// Leaves versions before the newest out.
    pub newest_only: bool,
}

/// Reads what a user wants of a deployment; with the name, which the task gets unless it has one.
pub fn deployment_spec_from_proto<'a>(
    mut spec: v1::DeploymentSpec,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<(String, DeploymentSpec)> {
    let path = &path.into();
    let name = std::mem::take(&mut spec.name);
    let name_read = violations.check(field(path, "name"), check_name(&name));
    let task_path = field(path, "task");
    let task = required(spec.task.take(), task_path, violations).and_then(|mut task| {
        if task.name.is_empty() {
            // A name that is wrong is told once.
            task.name = name_read.map_or("unnamed", |()| name.as_str()).to_owned();
        }
        let always = || v1::RestartPolicy { mode: v1::RestartMode::Always.into(), ..v1::RestartPolicy::default() };
        task.restart_policy.get_or_insert_with(always);
        task_spec_from_proto(task, task_path, violations)
    });
    let is_global = matches!(spec.mode, Some(v1::deployment_spec::Mode::Global(_)));
    let is_split = is_global && task.as_ref().is_some_and(|task: &TaskSpec| task.placement.colocation.is_some());
    if is_split {
        let what = "is not for a deployment with one task on each node";
        violations.add(field(&field(&task_path, "placement"), "colocation"), what);
    }
    let may_come = task.as_ref().is_none_or(|task| check_orders(&spec, task, is_global, path, violations));
    let waits_for_itself = spec.start_after.iter().any(|dependency| dependency.deployment == name);
    if waits_for_itself {
        violations.add(field(path, "start_after"), "a deployment can't wait for itself");
    }
    let settings = deployment_settings_from_proto(spec, path, violations);
    name_read?;
    if waits_for_itself || is_split || !may_come {
        return None;
    }
    Some((name, settings?.with_task(Arc::new(task?))))
}

/// Whether the new task of a slot can come as the policies have it: not before the old one goes, where it has to come to the same node
/// and needs the same port of it.
fn check_orders(
    spec: &v1::DeploymentSpec,
    task: &TaskSpec,
    is_global: bool,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> bool {
    let Some((_, port)) = task.fixed_host_ports().next() else { return true };
    let why = match (task.volumes().next(), &task.placement.colocation) {
        _ if is_global => "each node has a task of its own".to_owned(),
        (Some(volume), _) => format!("volume {volume} keeps both on one node"),
        (None, Some(colocation)) => format!("group {} keeps both on one node", colocation.group),
        (None, None) => return true,
    };
    let mut may_come = true;
    for (name, policy) in [("update_policy", &spec.update_policy), ("rollback_policy", &spec.rollback_policy)] {
        if policy.as_ref().is_some_and(|policy| policy.order() == v1::UpdateOrder::StartFirst) {
            let what = format!("can't be start_first: {why}, and the old task has host port {port}; use stop_first");
            violations.add(field(&field(path, name), "order"), what);
            may_come = false;
        }
    }
    may_come
}

/// What a deployment wants, but for its task.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentSettings {
    labels: BTreeMap<String, String>,
    mode: DeploymentMode,
    update: UpdatePolicy,
    rollback: Option<UpdatePolicy>,
    kept_versions: u32,
    app: String,
    start_after: Vec<Dependency>,
}

impl DeploymentSettings {
    /// With its task.
    #[must_use]
    pub fn with_task(self, task: Arc<TaskSpec>) -> DeploymentSpec {
        let Self { labels, mode, update, rollback, kept_versions, app, start_after } = self;
        DeploymentSpec { labels, mode, task, update, rollback, kept_versions, app, start_after }
    }
}

/// Reads what a user wants of a deployment but for its name and its task.
pub fn deployment_settings_from_proto<'a>(
    spec: v1::DeploymentSpec,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<DeploymentSettings> {
    let path = &path.into();
    let before = violations.0.len();
    let labels = labels_from_proto(spec.labels, MAX_LABELS, field(path, "labels"), violations);
    let mode = mode_from_proto(spec.mode, path, violations);
    let update = policy_from_proto(spec.update_policy.unwrap_or_default(), &field(path, "update_policy"), violations);
    let rollback_path = field(path, "rollback_policy");
    let rollback = spec.rollback_policy.map(|policy| policy_from_proto(policy, &rollback_path, violations));
    let kept_versions = spec.kept_versions.unwrap_or(DEFAULT_KEPT_VERSIONS);
    if !(1..=MAX_KEPT_VERSIONS).contains(&kept_versions) {
        violations.add(field(path, "kept_versions"), format!("is 1 to {MAX_KEPT_VERSIONS}, this is {kept_versions}"));
    }
    if !spec.app.is_empty() {
        violations.check(field(path, "app"), check_app_name(&spec.app));
    }
    let start_after = dependencies_from_proto(spec.start_after, &field(path, "start_after"), violations);
    if violations.0.len() > before {
        return None;
    }
    let rollback = match rollback {
        Some(policy) => Some(policy?),
        None => None,
    };
    let (labels, mode, update) = (labels?, mode?, update?);
    Some(DeploymentSettings { labels, mode, update, rollback, kept_versions, app: spec.app, start_after })
}

pub(super) fn dependencies_from_proto(
    dependencies: Vec<v1::Dependency>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<Dependency> {
    if dependencies.len() > MAX_DEPENDENCIES {
        violations.add(path, format!("has at most {MAX_DEPENDENCIES} entries, this has {}", dependencies.len()));
        return Vec::new();
    }
    let mut read: Vec<Dependency> = Vec::with_capacity(dependencies.len());
    for (index, dependency) in dependencies.into_iter().enumerate() {
        let path = item(path, index);
        let v1::Dependency { deployment, condition, required } = dependency;
        let named = violations.check(field(&path, "deployment"), check_name(&deployment));
        let condition = dependency_condition_from_proto(condition, &field(&path, "condition"), violations);
        let (Some(()), Some(condition)) = (named, condition) else { continue };
        if read.iter().any(|known| known.deployment == deployment) {
            violations.add(field(&path, "deployment"), format!("`{deployment}` is there twice"));
            continue;
        }
        read.push(Dependency { deployment, condition, required: required.unwrap_or(true) });
    }
    // The order says nothing.
    read.sort_unstable();
    read
}

pub(super) fn dependency_to_proto(dependency: &Dependency) -> v1::Dependency {
    v1::Dependency {
        deployment: dependency.deployment.clone(),
        condition: dependency_condition_to_proto(dependency.condition).into(),
        required: Some(dependency.required),
    }
}

fn mode_from_proto(
    mode: Option<v1::deployment_spec::Mode>,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<DeploymentMode> {
    use v1::deployment_spec::Mode;
    match mode {
        None => Some(DeploymentMode::Replicated { replicas: 1 }),
        Some(Mode::Global(v1::GlobalMode {})) => Some(DeploymentMode::Global),
        Some(Mode::Replicated(v1::ReplicatedMode { replicas })) => {
            let replicas = replicas.unwrap_or(1);
            let path = field(path, "replicated");
            if replicas > MAX_REPLICAS {
                violations.add(field(&path, "replicas"), format!("is at most {MAX_REPLICAS}, this is {replicas}"));
                return None;
            }
            Some(DeploymentMode::Replicated { replicas })
        }
    }
}

fn policy_from_proto(
    policy: v1::UpdatePolicy,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<UpdatePolicy> {
    let default = UpdatePolicy::default();
    let day = (MAX_POLICY_TIME, "24 h");
    let order = update_order_from_proto(policy.order, &field(path, "order"), violations);
    let on_failure = on_rollout_failure_from_proto(policy.on_failure, &field(path, "on_failure"), violations);
    let delay = bounded(policy.delay, default.delay, day, &field(path, "delay"), violations);
    let monitor = bounded(policy.monitor, default.monitor, day, &field(path, "monitor"), violations);
    let deadline_path = field(path, "progress_deadline");
    let progress_deadline =
        bounded(policy.progress_deadline, default.progress_deadline, day, &deadline_path, violations);
    if progress_deadline == Some(Duration::ZERO) {
        violations.add(deadline_path, "must be above zero");
    } else if let (Some(monitor), Some(deadline)) = (monitor, progress_deadline)
        && deadline <= monitor
    {
        let (deadline, monitor) = (deadline.as_secs_f64(), monitor.as_secs_f64());
        violations.add(deadline_path, format!("{deadline} s is not above `monitor`, which is {monitor} s"));
    }
    let (ratio, canaries) = (policy.max_failure_ratio, policy.canaries);
    let sound_ratio = (0.0..=1.0).contains(&ratio);
    if !sound_ratio {
        violations.add(field(path, "max_failure_ratio"), format!("is 0 to 1, this is {ratio}"));
    }
    let sound_canaries = canaries <= MAX_REPLICAS;
    if !sound_canaries {
        violations.add(field(path, "canaries"), format!("is at most {MAX_REPLICAS}, this is {canaries}"));
    }
    if !sound_ratio || !sound_canaries {
        return None;
    }
    Some(UpdatePolicy {
        parallelism: policy.parallelism.unwrap_or(default.parallelism),
        order: order?,
        delay: delay?,
        monitor: monitor?,
        max_failure_ratio: ratio,
        progress_deadline: progress_deadline?,
        on_failure: on_failure?,
        canaries,
        auto_promote: policy.auto_promote,
    })
}

/// Writes what a user wants of a deployment, with all defaults filled in.
#[must_use]
pub fn deployment_spec_to_proto(name: &str, spec: &DeploymentSpec) -> v1::DeploymentSpec {
    let task = Some(task_spec_to_proto(&spec.task));
    v1::DeploymentSpec { task, ..deployment_spec_without_task(name, spec) }
}

/// The same, but for the task: the store keeps that apart.
#[must_use]
pub fn deployment_spec_without_task(name: &str, spec: &DeploymentSpec) -> v1::DeploymentSpec {
    use v1::deployment_spec::Mode;
    let mode = match spec.mode {
        DeploymentMode::Replicated { replicas } => Mode::Replicated(v1::ReplicatedMode { replicas: Some(replicas) }),
        DeploymentMode::Global => Mode::Global(v1::GlobalMode {}),
    };
    v1::DeploymentSpec {
        name: name.to_owned(),
        labels: spec.labels.clone(),
        mode: Some(mode),
        task: None,
        update_policy: Some(policy_to_proto(&spec.update)),
        rollback_policy: spec.rollback.as_ref().map(policy_to_proto),
        kept_versions: Some(spec.kept_versions),
        app: spec.app.clone(),
        start_after: spec.start_after.iter().map(dependency_to_proto).collect(),
    }
}

fn policy_to_proto(policy: &UpdatePolicy) -> v1::UpdatePolicy {
    v1::UpdatePolicy {
        parallelism: Some(policy.parallelism),
        order: update_order_to_proto(policy.order).into(),
        delay: Some(duration_to_proto(policy.delay)),
        monitor: Some(duration_to_proto(policy.monitor)),
        max_failure_ratio: policy.max_failure_ratio,
        progress_deadline: Some(duration_to_proto(policy.progress_deadline)),
        on_failure: on_rollout_failure_to_proto(policy.on_failure).into(),
        canaries: policy.canaries,
        auto_promote: policy.auto_promote,
    }
}

/// What changes when a user changes what is wanted of a deployment.
#[must_use]
pub fn deployment_etag(deployment: &Deployment) -> String {
    let version = deployment.current().map_or(0, |version| version.number);
    format!("{}-v{version}", deployment.deployment_id.0.simple())
}

/// Writes a deployment.
#[must_use]
pub fn deployment_to_proto(deployment: &Deployment, view: DeploymentView) -> v1::Deployment {
    let current = deployment.current();
    let shown = if view.newest_only { deployment.versions.len().saturating_sub(1) } else { 0 };
    let versions = deployment.versions.iter().skip(shown);
    v1::Deployment {
        deployment_id: deployment.deployment_id.to_string(),
        spec: current.map(|version| deployment_spec_to_proto(&deployment.name, &version.spec)),
        version: current.map_or(0, |version| version.number),
        versions: versions.map(|version| version_to_proto(&deployment.name, version)).collect(),
        rollout: Some(rollout_to_proto(deployment)),
        counts: view.counts.map(|counts| {
            let DeploymentCounts { desired, updated, outdated, ready, stopping, completed } = counts;
            v1::DeploymentCounts { desired, updated, outdated, ready, stopping, completed }
        }),
        trouble: view.trouble,
        deleting: deployment.is_deleted,
        create_time: Some(timestamp_to_proto(deployment.created_at)),
        update_time: Some(timestamp_to_proto(deployment.updated_at)),
        revision: deployment.revision.0,
        etag: deployment_etag(deployment),
        waiting: deployment.waits,
    }
}

fn version_to_proto(name: &str, version: &Version) -> v1::DeploymentVersion {
    v1::DeploymentVersion {
        version: version.number,
        spec: Some(deployment_spec_to_proto(name, &version.spec)),
        create_time: Some(timestamp_to_proto(version.created_at)),
        author: version.author.clone(),
        change: version.change.clone(),
        proven: version.proven,
    }
}

fn rollout_to_proto(deployment: &Deployment) -> v1::Rollout {
    let rollout: &Rollout = &deployment.rollout;
    let runs = rollout.state == RolloutState::InProgress && !deployment.waits;
    let in_progress = deployment.current().filter(|_| runs);
    let deadline = in_progress.map(|version| rollout.deadline(version.spec.policy(rollout.is_rollback)));
    v1::Rollout {
        state: rollout_state_to_proto(rollout.state).into(),
        reason: rollout.reason.clone(),
        from_version: rollout.from_version.unwrap_or(0),
        rollback: rollout.is_rollback,
        promoted: rollout.promoted,
        start_time: Some(timestamp_to_proto(rollout.started_at)),
        finish_time: rollout.finished_at.map(timestamp_to_proto),
        deadline: deadline.map(timestamp_to_proto),
        done_count: rollout.done,
        failed_count: rollout.failed,
        in_flight_count: u32::try_from(rollout.in_flight.len()).unwrap_or(u32::MAX),
    }
}
