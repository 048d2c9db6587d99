//! What users ask of deployments. Their tasks follow: [`super::reconcile_deployment`] sees what there is to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::{
    CreateRequest, Deployment, DeploymentMode, DeploymentSpec, Rollout, RolloutState, UpdatePolicy, Version,
    change_between,
};
use davit_core::id::{DeploymentId, Revision};
use davit_core::state::TaskState;
use davit_proto::convert;

use super::needs::check_needs;
use super::{Error, Limits};
use crate::state::{ClusterState, Draft, EventType, KeyedSpec};

/// How many deployments there may be.
const MAX_DEPLOYMENTS: usize = 10_000;

/// What is wanted of a deployment, and who wants it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// All but the task's spec, which is in `task`.
    pub spec: DeploymentSpec,
    /// What each of its tasks runs.
    pub task: KeyedSpec,
    /// Who, as the caller said.
    pub author: String,
}

/// A deployment that is to be created.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// Its id.
    pub deployment_id: DeploymentId,
    /// Its name.
    pub name: String,
    /// What is wanted.
    pub wanted: Wanted,
    /// The caller's request id with a hash of the request's content.
    pub request: Option<CreateRequest>,
}

/// Which deployment a user means, and as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id or name.
    pub deployment: String,
    /// Its etag as the caller knows it; empty: whatever it is.
    pub etag: String,
}

/// Creates a deployment.
///
/// # Errors
/// When there is one of this name that another request created, also one that is being deleted, or its tasks or spec are beyond the limits.
pub fn create_deployment(draft: &mut Draft, new: NewDeployment, limits: Limits) -> Result<Arc<Deployment>, Error> {
    if let Some(there) = draft.state().deployment_by_name(&new.name) {
        let same = |(asked, created): (&CreateRequest, &CreateRequest)| asked == created;
        return match (&new.request, &there.created_by) {
            (Some(asked), Some(created)) if same((asked, created)) => Ok(Arc::clone(there)),
            (Some(asked), Some(created)) if asked.request_id == created.request_id => {
                Err(Error::RequestIdReused { request_id: asked.request_id.clone() })
            }
            _ if there.is_deleted => Err(Error::DeploymentIsBeingDeleted { name: new.name }),
            _ => Err(Error::DeploymentExists { name: new.name }),
        };
    }
    check_needs(draft.state(), &new.wanted.spec.task, &BTreeMap::new())?;
    check_limits(draft.state(), &[(None, &new.wanted)], limits)?;
    Ok(put_new(draft, new))
}

/// Puts a deployment whose name is free.
pub(super) fn put_new(draft: &mut Draft, new: NewDeployment) -> Arc<Deployment> {
    let now = draft.now();
    let change = "created".to_owned();
    let NewDeployment { deployment_id, name, wanted, request } = new;
    let waits = !wanted.spec.start_after.is_empty();
    let version =
        Version { number: 1, spec: wanted.spec, created_at: now, author: wanted.author, change, proven: false };
    let deployment = Deployment {
        deployment_id,
        name,
        versions: vec![Arc::new(version)],
        rollout: Rollout::begin(now, None, false, true),
        created_by: request,
        waits,
        is_deleted: false,
        created_at: now,
        updated_at: now,
        revision: Revision::default(),
    };
    draft.put_deployment(deployment, &wanted.task, EventType::DeploymentCreated, "created")
}

/// Changes what is wanted; nothing, if that is what is wanted already.
///
/// # Errors
/// When there is no such deployment, it is being deleted or has changed, or it would be beyond the limits.
pub fn update_deployment(
    draft: &mut Draft,
    named: &Named,
    wanted: Wanted,
    limits: Limits,
) -> Result<Arc<Deployment>, Error> {
    let (deployment, current) = open_deployment(draft.state(), named)?;
    check_mode(&deployment, &current, &wanted)?;
    // What it has already it may keep, also when that is being deleted.
    if current.spec.task != wanted.spec.task {
        check_needs(draft.state(), &wanted.spec.task, &BTreeMap::new())?;
    }
    check_limits(draft.state(), &[(Some(&current), &wanted)], limits)?;
    Ok(put_changed(draft, &deployment, &current, wanted))
}

/// A deployment never becomes global, nor the other way round: all its tasks would have to go at once.
pub(super) fn check_mode(deployment: &Deployment, current: &Version, wanted: &Wanted) -> Result<(), Error> {
    if std::mem::discriminant(&current.spec.mode) == std::mem::discriminant(&wanted.spec.mode) {
        return Ok(());
    }
    Err(Error::ModeChanges { name: deployment.name.clone() })
}

/// Puts a new version, if it is another than the current one.
pub(super) fn put_changed(
    draft: &mut Draft,
    deployment: &Arc<Deployment>,
    current: &Version,
    wanted: Wanted,
) -> Arc<Deployment> {
    if current.spec == wanted.spec {
        return Arc::clone(deployment);
    }
    let change = change_between(&current.spec, &wanted.spec);
    put_version(draft, deployment, wanted, change, None)
}

/// Changes how many replicas there are.
///
/// # Errors
/// When there is no such deployment, it has no replicas, is being deleted or has changed, or would be beyond the limits.
pub fn scale_deployment(
    draft: &mut Draft,
    named: &Named,
    replicas: u32,
    author: String,
    limits: Limits,
) -> Result<Arc<Deployment>, Error> {
    let (deployment, current) = open_deployment(draft.state(), named)?;
    if current.spec.mode == DeploymentMode::Global {
        return Err(Error::NoReplicas { name: deployment.name.clone() });
    }
    let spec = DeploymentSpec { mode: DeploymentMode::Replicated { replicas }, ..current.spec.clone() };
    let task = draft.state().specs().keyed(&current.spec.task);
    update_deployment(draft, named, Wanted { spec, task, author }, limits)
}

/// Makes an earlier version the newest again: this one, or the newest that was proven and runs something else.
///
/// # Errors
/// When there is no such deployment or version, or it is being deleted or has changed.
pub fn roll_back_deployment(
    draft: &mut Draft,
    named: &Named,
    number: Option<u32>,
    author: String,
) -> Result<Arc<Deployment>, Error> {
    let (deployment, current) = open_deployment(draft.state(), named)?;
    let earlier = match number {
        Some(number) => deployment.version(number),
        None => deployment.last_proven(),
    };
    let missing = || Error::VersionNotFound { name: deployment.name.clone(), version: number };
    let earlier = Arc::clone(earlier.ok_or_else(missing)?);
    if as_before(&deployment, &earlier) == current.spec {
        return Ok(deployment);
    }
    Ok(return_to(draft, &deployment, &earlier, author, ""))
}

/// Makes an earlier version the newest again, all of it but the number of replicas. `why`: what a rollout failed from that goes back by
/// itself.
pub(super) fn return_to(
    draft: &mut Draft,
    deployment: &Arc<Deployment>,
    earlier: &Version,
    author: String,
    why: &str,
) -> Arc<Deployment> {
    let spec = as_before(deployment, earlier);
    let task = draft.state().specs().keyed(&earlier.spec.task);
    let mut change = format!("rollback to version {}", earlier.number);
    let mut reason = String::new();
    if !why.is_empty() {
        change.push_str(&format!(": {why}"));
        let failed = deployment.current().map_or(0, |current| current.number);
        reason = format!("version {failed} failed: {why}");
    }
    put_version(draft, deployment, Wanted { spec, task, author }, change, Some(reason))
}

/// What an earlier version wants, but for the number of replicas, and the app: to which one it belongs is no matter of its versions.
fn as_before(deployment: &Deployment, earlier: &Version) -> DeploymentSpec {
    let mode = deployment.current().map_or(earlier.spec.mode, |current| current.spec.mode);
    let app = deployment.current().map_or_else(String::new, |current| current.spec.app.clone());
    DeploymentSpec { mode, app, ..earlier.spec.clone() }
}

/// Lets what waits behind the canaries follow.
///
/// # Errors
/// When there is no such deployment, it is being deleted or has changed, or does not wait for that.
pub fn promote_rollout(draft: &mut Draft, named: &Named) -> Result<Arc<Deployment>, Error> {
    let (deployment, _) = open_deployment(draft.state(), named)?;
    let state = deployment.rollout.state;
    if deployment.rollout.promoted || !matches!(state, RolloutState::AwaitingPromotion | RolloutState::InProgress) {
        return Err(Error::NothingToPromote { name: deployment.name.clone(), state });
    }
    let now = draft.now();
    let go_on = |rollout: &mut Rollout| {
        (rollout.state, rollout.promoted, rollout.progress_at) = (RolloutState::InProgress, true, now);
        rollout.reason = String::new();
    };
    Ok(put_rollout(draft, &deployment, go_on, "promoted"))
}

/// Has nothing more replaced.
///
/// # Errors
/// When there is no such deployment, it is being deleted, or nothing is in progress.
pub fn pause_rollout(draft: &mut Draft, named: &Named) -> Result<Arc<Deployment>, Error> {
    let (deployment, _) = open_deployment(draft.state(), named)?;
    let state = deployment.rollout.state;
    if !matches!(state, RolloutState::AwaitingPromotion | RolloutState::InProgress) {
        return Err(Error::NothingToPause { name: deployment.name.clone(), state });
    }
    let now = draft.now();
    let pause = |rollout: &mut Rollout| {
        (rollout.state, rollout.finished_at) = (RolloutState::Paused, Some(now));
        rollout.reason = "a user paused it".to_owned();
    };
    Ok(put_rollout(draft, &deployment, pause, "paused by a user"))
}

/// Goes on with a rollout that is paused or has failed.
///
/// # Errors
/// When there is no such deployment, it is being deleted or has changed, or it is neither paused nor has failed.
pub fn resume_rollout(draft: &mut Draft, named: &Named) -> Result<Arc<Deployment>, Error> {
    let (deployment, _) = open_deployment(draft.state(), named)?;
    let state = deployment.rollout.state;
    if !matches!(state, RolloutState::Paused | RolloutState::Failed) {
        return Err(Error::NothingToResume { name: deployment.name.clone(), state });
    }
    let now = draft.now();
    Ok(put_rollout(draft, &deployment, |rollout| go_on(rollout, now), "resumed by a user"))
}

/// Goes on with what has failed or was paused: failures so far count no more.
fn go_on(rollout: &mut Rollout, now: jiff::Timestamp) {
    (rollout.state, rollout.finished_at, rollout.progress_at) = (RolloutState::InProgress, None, now);
    rollout.reason = String::new();
    rollout.failed = 0;
    for incoming in rollout.in_flight.values_mut().filter(|incoming| incoming.failed) {
        (incoming.failed, incoming.counted_from) = (false, incoming.attempt.next());
    }
}

/// Has all tasks of a deployment stopped and itself deleted with the last of them.
///
/// # Errors
/// When there is no such deployment, or it has changed.
pub fn delete_deployment(draft: &mut Draft, named: &Named) -> Result<Revision, Error> {
    let deployment = find(draft.state(), named)?;
    put_deleted(draft, &deployment);
    Ok(draft.state().revision())
}

/// Has a deployment end, if it does not yet.
pub(super) fn put_deleted(draft: &mut Draft, deployment: &Deployment) {
    if !deployment.is_deleted {
        let next = Deployment { is_deleted: true, ..deployment.clone() };
        put_same(draft, next, EventType::DeploymentUpdated, "asked to stop and be deleted");
    }
}

fn find(state: &ClusterState, named: &Named) -> Result<Arc<Deployment>, Error> {
    let Named { deployment: name, etag } = named;
    let missing = || Error::DeploymentNotFound { deployment: name.chars().take(64).collect() };
    let deployment = state.find_deployment(name).ok_or_else(missing)?;
    let actual = convert::deployment_etag(deployment);
    if !etag.is_empty() && *etag != actual {
        let name = deployment.name.clone();
        return Err(Error::DeploymentHasChanged { name, expected: etag.chars().take(64).collect(), actual });
    }
    Ok(Arc::clone(deployment))
}

/// A deployment that may be changed, and its newest version.
fn open_deployment(state: &ClusterState, named: &Named) -> Result<(Arc<Deployment>, Arc<Version>), Error> {
    let deployment = find(state, named)?;
    match deployment.current() {
        Some(current) if !deployment.is_deleted => Ok((Arc::clone(&deployment), Arc::clone(current))),
        _ => Err(Error::DeploymentIsBeingDeleted { name: deployment.name.clone() }),
    }
}

/// Puts a new version. Slots that run what it wants are left alone, and those that don't go straight to it. `rollback`: it is one, for
/// this reason if it goes back by itself.
fn put_version(
    draft: &mut Draft,
    deployment: &Deployment,
    wanted: Wanted,
    change: String,
    rollback: Option<String>,
) -> Arc<Deployment> {
    let now = draft.now();
    let Wanted { spec, task, author } = wanted;
    let newest = deployment.current();
    let number = newest.map_or(1, |version| version.number.saturating_add(1));
    let replaces = newest.is_some_and(|version| spec.may_replace(&version.spec));
    let proven = newest.is_some_and(|version| version.proven) && !replaces;
    let mut next = deployment.clone();
    next.waits &= !spec.start_after.is_empty();
    let is_rollback = rollback.is_some();
    next.rollout = next_rollout(deployment, spec.policy(is_rollback), replaces, is_rollback, now);
    if let Some(reason) = rollback.filter(|reason| !reason.is_empty()) {
        next.rollout.reason = reason;
    }
    let kept = spec.kept_versions as usize;
    let message = format!("version {number}: {change}");
    next.versions.push(Arc::new(Version { number, spec, created_at: now, author, change, proven }));
    drop_old_versions(&mut next, kept);
    draft.put_deployment(next, &task, EventType::DeploymentUpdated, message)
}

fn next_rollout(
    deployment: &Deployment,
    policy: &UpdatePolicy,
    replaces: bool,
    is_rollback: bool,
    now: jiff::Timestamp,
) -> Rollout {
    let before = &deployment.rollout;
    if deployment.waits {
        // There is nothing yet that it could lead away from.
        return Rollout::begin(now, None, false, true);
    }
    let is_under_way = before.state != RolloutState::Complete;
    if !replaces && is_under_way {
        // What is under way stays so: only the number of tasks changes, or what they take over as they are.
        let mut rollout = before.clone();
        if rollout.state == RolloutState::Failed {
            go_on(&mut rollout, now);
        }
        return rollout;
    }
    if !replaces {
        return Rollout::begin(now, None, false, true);
    }
    // Slots that the rollout before did not come to are still of the version that it led away from.
    let from = if is_under_way && before.from_version.is_some() {
        before.from_version
    } else {
        deployment.current().map(|version| version.number)
    };
    let promoted = is_rollback || policy.canaries == 0;
    Rollout::begin(now, from, is_rollback, promoted)
}

/// Drops the oldest versions beyond those that are kept. What a rollout leads away from, or could go back to, stays.
fn drop_old_versions(deployment: &mut Deployment, kept: usize) {
    let needed = [deployment.rollout.from_version, deployment.last_proven().map(|version| version.number)];
    let mut excess = deployment.versions.len().saturating_sub(kept.max(1));
    let newest = deployment.current().map(|version| version.number);
    deployment.versions.retain(|version| {
        let number = Some(version.number);
        let goes = excess > 0 && number != newest && !needed.contains(&number);
        excess -= usize::from(goes);
        !goes
    });
}

/// Changes how far a deployment's rollout is.
fn put_rollout(
    draft: &mut Draft,
    deployment: &Deployment,
    change: impl FnOnce(&mut Rollout),
    message: &str,
) -> Arc<Deployment> {
    let mut next = deployment.clone();
    change(&mut next.rollout);
    put_same(draft, next, EventType::DeploymentRolloutChanged, message)
}

/// Puts a deployment whose newest version's task has the spec that it had.
pub(super) fn put_same(
    draft: &mut Draft,
    deployment: Deployment,
    event_type: EventType,
    message: impl Into<String>,
) -> Arc<Deployment> {
    let task = deployment.current().map(|version| draft.state().specs().keyed(&version.spec.task));
    match task {
        Some(task) => draft.put_deployment(deployment, &task, event_type, message),
        None => Arc::new(deployment),
    }
}

/// Refuses changes that are too much together; each is given with the version that it follows.
pub(super) fn check_limits(
    state: &ClusterState,
    changes: &[(Option<&Version>, &Wanted)],
    limits: Limits,
) -> Result<(), Error> {
    let new = changes.iter().filter(|(before, _)| before.is_none()).count();
    if new > 0 && state.deployment_count() + new > MAX_DEPLOYMENTS {
        return Err(Error::TooManyDeployments { max_deployments: MAX_DEPLOYMENTS });
    }
    let replicas = |mode: DeploymentMode| match mode {
        DeploymentMode::Replicated { replicas } => u64::from(replicas),
        DeploymentMode::Global => state.node_count() as u64,
    };
    let there: u64 = TaskState::ALL.iter().map(|state_of| state.task_count(*state_of)).sum();
    let more_of = |(before, wanted): &(Option<&Version>, &Wanted)| {
        replicas(wanted.spec.mode).saturating_sub(before.map_or(0, |version| replicas(version.spec.mode)))
    };
    let more = changes.iter().map(more_of).sum();
    if more > 0 && there.saturating_add(more) > limits.max_tasks {
        return Err(Error::TooManyTasks { there, more, max_tasks: limits.max_tasks });
    }
    let specs = state.specs();
    let (there, more) = (specs.bytes(), specs.bytes_of_new(changes.iter().map(|(_, wanted)| &wanted.task)));
    if more > 0 && there.saturating_add(more) > limits.max_spec_bytes {
        return Err(Error::TooManySpecBytes { there, more, max_spec_bytes: limits.max_spec_bytes });
    }
    Ok(())
}
