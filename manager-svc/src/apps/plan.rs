//! What would become of the deployments of an app, for people.

use davit_core::deployment::{Deployment, DeploymentSpec};
use davit_proto::v1;

use super::spec_changes;
use crate::commands::{AppChange, AppStep};
use crate::stable_hash::stable_hash;

/// What becomes of each deployment, with its tasks counted; without placements.
pub(crate) fn planned(app: &str, changes: &[AppChange]) -> Vec<v1::PlannedDeployment> {
    changes.iter().map(|change| planned_one(app, change)).collect()
}

fn planned_one(app: &str, change: &AppChange) -> v1::PlannedDeployment {
    let AppChange { before, after, tasks } = change;
    let mut planned = told(app, &after.name, before.as_deref(), spec_of(after).filter(|_| !after.is_deleted));
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

/// Stands for all that these steps do.
pub(crate) fn plan_token(app: &str, steps: &[AppStep]) -> String {
    let planned = |step: &AppStep| match step {
        AppStep::Create { name, wanted } => told(app, name, None, Some(&wanted.spec)),
        AppStep::Change { before, wanted, .. } => told(app, &before.name, Some(before), Some(&wanted.spec)),
        AppStep::Keep { before } => told(app, &before.name, Some(before), spec_of(before)),
        AppStep::Remove { before } => told(app, &before.name, Some(before), None),
    };
    let deployments = steps.iter().map(planned).collect();
    let all = v1::PlanAppResponse { app: app.to_owned(), deployments, ..Default::default() };
    format!("{:016x}", stable_hash("PlanApp", &all))
}

/// Without a spec after it, it is removed.
fn told(app: &str, name: &str, before: Option<&Deployment>, after: Option<&DeploymentSpec>) -> v1::PlannedDeployment {
    let service = name.strip_prefix(app).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name);
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
        service: service.to_owned(),
        action: action.into(),
        changes,
        ..Default::default()
    }
}

fn spec_of(deployment: &Deployment) -> Option<&DeploymentSpec> {
    deployment.current().map(|version| &version.spec)
}
