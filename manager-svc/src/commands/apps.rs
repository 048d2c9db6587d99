//! Apps: all deployments of one name at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::deployment::{Deployment, Version};
use davit_core::id::{DeploymentId, Revision};

use super::deployments::{check_limits, check_mode, put_changed, put_deleted, put_new};
use super::{Error, Limits, NewDeployment, Wanted};
use crate::apps::plan_token;
use crate::reconcile::{TaskChanges, task_changes};
use crate::state::{ClusterState, Draft};

/// What is wanted of an app.
#[derive(Debug, Clone)]
pub struct WantedApp {
    /// Its name.
    pub app: String,
    /// Its deployments, by name.
    pub deployments: BTreeMap<String, Wanted>,
    /// Names of deployments that are neither wanted nor removed.
    pub unselected: BTreeSet<String>,
    /// Whether others of the app are removed.
    pub prune: bool,
    /// What the caller expects to be done; empty: whatever it is.
    pub plan_token: String,
}

/// What is done with one deployment of an app.
#[derive(Debug, Clone)]
pub enum AppStep {
    /// It is created.
    Create {
        /// Its name.
        name: String,
        /// What is wanted.
        wanted: Box<Wanted>,
    },
    /// It is changed, if something else is wanted.
    Change {
        /// As it is.
        before: Arc<Deployment>,
        /// Its version now.
        current: Arc<Version>,
        /// What is wanted.
        wanted: Box<Wanted>,
    },
    /// It stays as it is.
    Keep {
        /// As it is.
        before: Arc<Deployment>,
    },
    /// It is deleted.
    Remove {
        /// As it is.
        before: Arc<Deployment>,
    },
}

/// What was done with one deployment of an app.
#[derive(Debug, Clone)]
pub struct AppChange {
    /// As it was; `None`: it is new.
    pub before: Option<Arc<Deployment>>,
    /// As it is.
    pub after: Arc<Deployment>,
    /// What follows for its tasks.
    pub tasks: TaskChanges,
}

/// What there is to do for an app, in the order of names. Changes nothing.
///
/// # Errors
/// When a name is taken, a deployment is being deleted, it would be beyond the limits, or the caller expects something else.
pub fn plan_app(state: &ClusterState, wanted: WantedApp, limits: Limits) -> Result<Vec<AppStep>, Error> {
    let WantedApp { app, deployments, unselected, prune, plan_token: expected } = wanted;
    let mut steps = BTreeMap::new();
    for (name, wanted) in deployments {
        let wanted = Box::new(wanted);
        let step = match state.deployment_by_name(&name) {
            None => AppStep::Create { name: name.clone(), wanted },
            Some(before) => {
                let current = current_of(before, &app)?;
                check_mode(before, &current, &wanted)?;
                AppStep::Change { before: Arc::clone(before), current, wanted }
            }
        };
        steps.insert(name, step);
    }
    for before in state.deployments_of_app(&app).filter(|before| !before.is_deleted) {
        let before = Arc::clone(before);
        let stays = !prune || unselected.contains(&before.name);
        let step = || {
            if stays {
                AppStep::Keep { before: Arc::clone(&before) }
            } else {
                AppStep::Remove { before: Arc::clone(&before) }
            }
        };
        steps.entry(before.name.clone()).or_insert_with(step);
    }
    let steps: Vec<AppStep> = steps.into_values().collect();
    let more = |step: &AppStep| match step {
        AppStep::Create { wanted, .. } => Some((None, Wanted::clone(wanted))),
        AppStep::Change { current, wanted, .. } => Some((Some(Arc::clone(current)), Wanted::clone(wanted))),
        AppStep::Keep { .. } | AppStep::Remove { .. } => None,
    };
    let more: Vec<_> = steps.iter().filter_map(more).collect();
    let more: Vec<_> = more.iter().map(|(before, wanted)| (before.as_deref(), wanted)).collect();
    check_limits(state, &more, limits)?;
    if !expected.is_empty() && expected != plan_token(&app, &steps) {
        return Err(Error::PlanHasChanged { app });
    }
    Ok(steps)
}

/// The version of a deployment that an app may change.
fn current_of(deployment: &Deployment, app: &str) -> Result<Arc<Version>, Error> {
    let name = || deployment.name.clone();
    match deployment.current() {
        Some(current) if current.spec.app != app => {
            Err(Error::OfAnotherApp { name: name(), app: current.spec.app.clone(), asked: app.to_owned() })
        }
        Some(current) if !deployment.is_deleted => Ok(Arc::clone(current)),
        _ => Err(Error::DeploymentIsBeingDeleted { name: name() }),
    }
}

/// Makes the deployments of an app what is wanted, all or none. `ids` are for new ones, and do not run out.
///
/// # Errors
/// As [`plan_app`].
pub fn apply_app(
    draft: &mut Draft,
    wanted: WantedApp,
    ids: &mut impl Iterator<Item = DeploymentId>,
    limits: Limits,
) -> Result<Vec<AppChange>, Error> {
    let steps = plan_app(draft.state(), wanted, limits)?;
    let mut changes = Vec::with_capacity(steps.len());
    for step in steps {
        let (before, after) = match step {
            AppStep::Create { name, wanted } => {
                let Some(deployment_id) = ids.next() else { continue };
                let new = NewDeployment { deployment_id, name, wanted: *wanted, request: None };
                (None, put_new(draft, new))
            }
            AppStep::Change { before, current, wanted } => {
                let after = put_changed(draft, &before, &current, *wanted);
                (Some(before), after)
            }
            AppStep::Keep { before } => (Some(Arc::clone(&before)), before),
            AppStep::Remove { before } => {
                put_deleted(draft, &before);
                let after = draft.state().deployment(before.deployment_id).map_or(before.clone(), Arc::clone);
                (Some(before), after)
            }
        };
        let tasks = task_changes(draft.state(), &after);
        changes.push(AppChange { before, after, tasks });
    }
    Ok(changes)
}

/// Has all deployments of an app deleted. Says which they are, and the revision after that.
///
/// # Errors
/// When there are none.
pub fn delete_app(draft: &mut Draft, app: &str) -> Result<(Vec<String>, Revision), Error> {
    let deployments: Vec<Arc<Deployment>> = draft.state().deployments_of_app(app).cloned().collect();
    if deployments.is_empty() {
        return Err(Error::AppNotFound { app: app.chars().take(64).collect() });
    }
    for deployment in &deployments {
        put_deleted(draft, deployment);
    }
    let names = deployments.iter().map(|deployment| deployment.name.clone()).collect();
    Ok((names, draft.state().revision()))
}
