//! Apps: all deployments and jobs of one name at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::deployment::{Deployment, Version};
use davit_core::file::ConfigName;
use davit_core::id::{DeploymentId, JobId, Revision};
use davit_core::job::{Job, MAX_ACTIVE_RUNS};
use uuid::Uuid;

use super::configs::{abandon, check_configs, put};
use super::deployments::{check_limits, check_mode, put_changed, put_deleted, put_new};
use super::error::JobError;
use super::jobs::{check_job_limits, put_changed_job, put_deleted_job, put_new_job, put_same_job};
use super::needs::check_needs;
use super::waits::wait_on;
use super::{Error, Limits, NewConfig, NewDeployment, NewJob, Wanted, WantedJob};
use crate::apps::plan_token;
use crate::reconcile::{TaskChanges, begin_run, task_changes};
use crate::state::{ClusterState, Draft, EventType};

/// What is wanted of an app.
#[derive(Debug, Clone)]
pub struct WantedApp {
    /// Its name.
    pub app: String,
    /// Its deployments, by name.
    pub deployments: BTreeMap<String, Wanted>,
    /// Its jobs, by name.
    pub jobs: BTreeMap<String, WantedJob>,
    /// Its configs and secrets, with what they hold.
    pub configs: BTreeMap<ConfigName, NewConfig>,
    /// Names of deployments and jobs that are neither wanted nor removed.
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

/// What is done with one job of an app.
#[derive(Debug, Clone)]
pub enum AppJobStep {
    /// It is created.
    Create {
        /// Its name.
        name: String,
        /// What is wanted.
        wanted: Box<WantedJob>,
    },
    /// It is changed, if something else is wanted.
    Change {
        /// As it is.
        before: Arc<Job>,
        /// What is wanted.
        wanted: Box<WantedJob>,
    },
    /// It stays as it is.
    Keep {
        /// As it is.
        before: Arc<Job>,
    },
    /// It is deleted.
    Remove {
        /// As it is.
        before: Arc<Job>,
    },
}

/// What was done with one job of an app.
#[derive(Debug, Clone)]
pub struct AppJobChange {
    /// As it was; `None`: it is new.
    pub before: Option<Arc<Job>>,
    /// As it is.
    pub after: Arc<Job>,
}

/// What there is to do for an app.
#[derive(Debug, Clone)]
pub struct AppPlan {
    /// With each of its deployments, in the order of names.
    pub deployments: Vec<AppStep>,
    /// With each of its jobs, in the order of names.
    pub jobs: Vec<AppJobStep>,
}

/// What was done for an app.
#[derive(Debug, Clone)]
pub struct AppChanges {
    /// With each of its deployments, in the order of names.
    pub deployments: Vec<AppChange>,
    /// With each of its jobs, in the order of names.
    pub jobs: Vec<AppJobChange>,
}

/// What there is to do for an app. Changes nothing.
///
/// # Errors
/// When a name is taken, a deployment or job is being deleted, it would be beyond the limits, or the caller expects something else.
pub fn plan_app(state: &ClusterState, wanted: WantedApp, limits: Limits) -> Result<AppPlan, Error> {
    let WantedApp { app, deployments, jobs, configs, unselected, prune, plan_token: expected } = wanted;
    check_configs(state, &configs.values().cloned().collect::<Vec<_>>())?;
    let of_deployments = deployments.values().map(|wanted| &wanted.spec.task);
    for spec in of_deployments.chain(jobs.values().map(|wanted| &wanted.spec.task)) {
        check_needs(state, spec, &configs)?;
    }
    let stays = |name: &String| !prune || unselected.contains(name);
    let plan = AppPlan {
        deployments: plan_deployments(state, &app, deployments, stays, limits)?,
        jobs: plan_jobs(state, &app, jobs, stays, limits)?,
    };
    if !expected.is_empty() && expected != plan_token(&app, &plan) {
        return Err(Error::PlanHasChanged { app });
    }
    Ok(plan)
}

fn plan_deployments(
    state: &ClusterState,
    app: &str,
    deployments: BTreeMap<String, Wanted>,
    stays: impl Fn(&String) -> bool,
    limits: Limits,
) -> Result<Vec<AppStep>, Error> {
    let mut steps = BTreeMap::new();
    for (name, wanted) in deployments {
        let wanted = Box::new(wanted);
        let step = match state.deployment_by_name(&name) {
            None => AppStep::Create { name: name.clone(), wanted },
            Some(before) => {
                let current = current_of(before, app)?;
                check_mode(before, &current, &wanted)?;
                AppStep::Change { before: Arc::clone(before), current, wanted }
            }
        };
        steps.insert(name, step);
    }
    for before in state.deployments_of_app(app).filter(|before| !before.is_deleted) {
        let before = Arc::clone(before);
        let step = || {
            if stays(&before.name) {
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
    Ok(steps)
}

fn plan_jobs(
    state: &ClusterState,
    app: &str,
    jobs: BTreeMap<String, WantedJob>,
    stays: impl Fn(&String) -> bool,
    limits: Limits,
) -> Result<Vec<AppJobStep>, Error> {
    let new = jobs.keys().filter(|name| state.job_by_name(name).is_none()).count();
    check_job_limits(state, new, jobs.values(), limits)?;
    let mut steps = BTreeMap::new();
    for (name, wanted) in jobs {
        let wanted = Box::new(wanted);
        let step = match state.job_by_name(&name) {
            None => AppJobStep::Create { name: name.clone(), wanted },
            Some(before) if before.spec.app != app => {
                let (of, asked) = (before.spec.app.clone(), app.to_owned());
                return Err(JobError::OfAnotherApp { name, app: of, asked }.into());
            }
            Some(before) if before.is_deleted => return Err(JobError::IsBeingDeleted { name }.into()),
            Some(before) => AppJobStep::Change { before: Arc::clone(before), wanted },
        };
        steps.insert(name, step);
    }
    for before in state.jobs_of_app(app).filter(|before| !before.is_deleted) {
        let before = Arc::clone(before);
        let step = || {
            if stays(&before.name) {
                AppJobStep::Keep { before: Arc::clone(&before) }
            } else {
                AppJobStep::Remove { before: Arc::clone(&before) }
            }
        };
        steps.entry(before.name.clone()).or_insert_with(step);
    }
    Ok(steps.into_values().collect())
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

/// Makes the deployments and jobs of an app what is wanted, all or none. `ids` are for new ones, and do not run out.
///
/// # Errors
/// As [`plan_app`].
pub fn apply_app(
    draft: &mut Draft,
    wanted: WantedApp,
    ids: &mut impl Iterator<Item = Uuid>,
    limits: Limits,
) -> Result<AppChanges, Error> {
    let (app, configs, prune) = (wanted.app.clone(), wanted.configs.clone(), wanted.prune);
    let plan = plan_app(draft.state(), wanted, limits)?;
    for config in configs.values() {
        put(draft, config.clone());
    }
    let mut deployments = Vec::with_capacity(plan.deployments.len());
    for step in plan.deployments {
        let (before, after) = match step {
            AppStep::Create { name, wanted } => {
                let Some(id) = ids.next() else { continue };
                let new = NewDeployment { deployment_id: DeploymentId(id), name, wanted: *wanted, request: None };
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
        deployments.push(AppChange { before, after, tasks });
    }
    let mut jobs = Vec::with_capacity(plan.jobs.len());
    for step in plan.jobs {
        let (before, after) = match step {
            AppJobStep::Create { name, wanted } => {
                let Some(id) = ids.next() else { continue };
                (None, put_new_job(draft, NewJob { job_id: JobId(id), name, wanted: *wanted, request: None }))
            }
            AppJobStep::Change { before, wanted } => {
                let after = put_changed_job(draft, &before, *wanted);
                let after = if runs_anew(&before, &after) { put_run(draft, &after) } else { after };
                (Some(before), after)
            }
            AppJobStep::Keep { before } => (Some(Arc::clone(&before)), before),
            AppJobStep::Remove { before } => {
                put_deleted_job(draft, &before);
                let after = draft.state().job(before.job_id).map_or(before.clone(), Arc::clone);
                (Some(before), after)
            }
        };
        jobs.push(AppJobChange { before, after });
    }
    if prune {
        abandon(draft, &app, |name| configs.contains_key(name));
    }
    let has_changed = |before: Option<Revision>, after: Revision| before != Some(after);
    let revision_before = |change: &AppChange| change.before.as_ref().map(|before| before.revision);
    let of_job_before = |change: &AppJobChange| change.before.as_ref().map(|before| before.revision);
    if deployments.iter().any(|change| has_changed(revision_before(change), change.after.revision))
        || jobs.iter().any(|change| has_changed(of_job_before(change), change.after.revision))
    {
        wait_on(draft, &app);
    }
    Ok(AppChanges { deployments, jobs })
}

/// Whether an app's job that has no schedule does something else now, so that what it did before does not count.
fn runs_anew(before: &Job, after: &Job) -> bool {
    let spec = &after.spec;
    spec.schedule.is_none()
        && !after.is_paused
        && after.active_runs().count() < MAX_ACTIVE_RUNS
        && (spec.task.must_replace(&before.spec.task) || spec.arguments != before.spec.arguments)
}

fn put_run(draft: &mut Draft, job: &Job) -> Arc<Job> {
    let mut next = job.clone();
    let run = begin_run(&mut next, None, String::new(), draft.now());
    put_same_job(draft, next, EventType::JobRunChanged, format!("run {run} begins: its tasks do something else now"))
}

/// The names of what is deleted with an app, and the revision after the order to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedApp {
    /// Its deployments.
    pub deployments: Vec<String>,
    /// Its jobs.
    pub jobs: Vec<String>,
    /// The revision.
    pub revision: Revision,
}

/// Has all deployments and jobs of an app deleted, and its configs and secrets with them.
///
/// # Errors
/// When there are none.
pub fn delete_app(draft: &mut Draft, app: &str) -> Result<DeletedApp, Error> {
    let deployments: Vec<Arc<Deployment>> = draft.state().deployments_of_app(app).cloned().collect();
    let jobs: Vec<Arc<Job>> = draft.state().jobs_of_app(app).cloned().collect();
    let has_configs = draft.state().configs().any(|config| config.app == app && !config.is_deleted);
    if deployments.is_empty() && jobs.is_empty() && !has_configs {
        return Err(Error::AppNotFound { app: app.chars().take(64).collect() });
    }
    deployments.iter().for_each(|deployment| put_deleted(draft, deployment));
    jobs.iter().for_each(|job| put_deleted_job(draft, job));
    abandon(draft, app, |_| false);
    Ok(DeletedApp {
        deployments: deployments.iter().map(|deployment| deployment.name.clone()).collect(),
        jobs: jobs.iter().map(|job| job.name.clone()).collect(),
        revision: draft.state().revision(),
    })
}
