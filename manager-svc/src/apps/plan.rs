//! What would become of the deployments and jobs of an app, for people.

use davit_core::deployment::{Deployment, DeploymentSpec};
use davit_core::job::{Job, JobSpec};
use davit_proto::v1;

use super::spec_changes;
use crate::commands::{AppChange, AppChanges, AppJobChange, AppJobStep, AppPlan, AppStep};
use crate::stable_hash::stable_hash;

/// What becomes of each deployment, and of each job, with tasks counted, without placements.
pub(crate) fn planned(app: &str, changes: &AppChanges) -> (Vec<v1::PlannedDeployment>, Vec<v1::PlannedJob>) {
    let deployments = changes.deployments.iter().map(|change| planned_deployment(app, change));
    let jobs = changes.jobs.iter().map(|change| planned_job(app, change));
    (deployments.collect(), jobs.collect())
}

fn planned_deployment(app: &str, change: &AppChange) -> v1::PlannedDeployment {
    let AppChange { before, after, tasks } = change;
    let mut planned = told(app, &after.name, before.as_deref(), spec_of(after).filter(|_| !after.is_deleted));
    planned.version = after.current().map_or(0, |version| version.number);
    if planned.action() != v1::PlannedAction::Unchanged {
        planned.created_tasks = tasks.created;
        planned.replaced_tasks = tasks.replaced;
        planned.stopped_tasks = tasks.stopped;
    }
    if planned.action() == v1::PlannedAction::Update && tasks.replaced > 0 {
        // Such as those on nodes that its constraints no longer allow.
        planned.set_action(v1::PlannedAction::Roll);
    }
    planned
}

fn planned_job(app: &str, change: &AppJobChange) -> v1::PlannedJob {
    let AppJobChange { before, after } = change;
    let planned = told_job(app, &after.name, before.as_deref(), Some(&*after.spec).filter(|_| !after.is_deleted));
    let last_run = before.as_ref().map_or(0, |before| before.last_run);
    let begins_run = after.last_run > last_run;
    let started_tasks = if begins_run { after.spec.parallelism.min(after.spec.completions) } else { 0 };
    v1::PlannedJob { begins_run, started_tasks, ..planned }
}

/// Stands for all that these steps do.
pub(crate) fn plan_token(app: &str, plan: &AppPlan) -> String {
    let deployment = |step: &AppStep| match step {
        AppStep::Create { name, wanted } => told(app, name, None, Some(&wanted.spec)),
        AppStep::Change { before, wanted, .. } => told(app, &before.name, Some(before), Some(&wanted.spec)),
        AppStep::Keep { before } => told(app, &before.name, Some(before), spec_of(before)),
        AppStep::Remove { before } => told(app, &before.name, Some(before), None),
    };
    let job = |step: &AppJobStep| match step {
        AppJobStep::Create { name, wanted } => told_job(app, name, None, Some(&wanted.spec)),
        AppJobStep::Change { before, wanted } => told_job(app, &before.name, Some(before), Some(&wanted.spec)),
        AppJobStep::Keep { before } => told_job(app, &before.name, Some(before), Some(&before.spec)),
        AppJobStep::Remove { before } => told_job(app, &before.name, Some(before), None),
    };
    let deployments = plan.deployments.iter().map(deployment).collect();
    let jobs = plan.jobs.iter().map(job).collect();
    let all = v1::PlanAppResponse { app: app.to_owned(), deployments, jobs, ..Default::default() };
    format!("{:016x}", stable_hash("PlanApp", &all))
}

/// Without a spec after it, it is removed.
fn told(app: &str, name: &str, before: Option<&Deployment>, after: Option<&DeploymentSpec>) -> v1::PlannedDeployment {
    let spec_before = before.and_then(spec_of);
    let changes = after.map(|after| spec_changes(name, spec_before, after)).unwrap_or_default();
    let action = match (spec_before, after) {
        (_, None) => v1::PlannedAction::Remove,
        (None, Some(_)) => v1::PlannedAction::Create,
        (Some(before), Some(after)) if before == after => v1::PlannedAction::Unchanged,
        (Some(before), Some(after)) if after.task.must_replace(&before.task) => v1::PlannedAction::Roll,
        (Some(_), Some(_)) => v1::PlannedAction::Update,
    };
    v1::PlannedDeployment {
        deployment: name.to_owned(),
        service: service_of(app, name),
        action: action.into(),
        changes,
        ..Default::default()
    }
}

/// The same of a job.
fn told_job(app: &str, name: &str, before: Option<&Job>, after: Option<&JobSpec>) -> v1::PlannedJob {
    let spec_before = before.map(|before| &*before.spec);
    let changes = after.map(|after| spec_changes(name, spec_before, after)).unwrap_or_default();
    let action = match (spec_before, after) {
        (_, None) => v1::PlannedAction::Remove,
        (None, Some(_)) => v1::PlannedAction::Create,
        (Some(before), Some(after)) if before == after => v1::PlannedAction::Unchanged,
        (Some(_), Some(_)) => v1::PlannedAction::Update,
    };
    v1::PlannedJob {
        job: name.to_owned(),
        service: service_of(app, name),
        action: action.into(),
        changes,
        ..Default::default()
    }
}

fn service_of(app: &str, name: &str) -> String {
    name.strip_prefix(app).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name).to_owned()
}

fn spec_of(deployment: &Deployment) -> Option<&DeploymentSpec> {
    deployment.current().map(|version| &version.spec)
}
