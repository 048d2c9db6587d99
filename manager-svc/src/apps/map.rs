//! What the services of a Compose project become in the cluster: a deployment each. What the cluster can't do yet is refused, or
//! dropped with a warning for a reader who is lenient.

mod container;
mod health;
mod policy;
mod refused;
mod violations;

use std::collections::{BTreeMap, BTreeSet};

use davit_compose::{Condition, Project, Service};
use davit_proto::{convert, v1};

pub(crate) use self::refused::Refusals;
use self::violations::told_at;
use davit_core::deployment::DeploymentSpec;
use davit_core::validate::Violations;

/// The label of tasks that names their app.
const APP_LABEL: &str = "davit.app";
/// The label of tasks that names the service of their app.
const SERVICE_LABEL: &str = "davit.service";

/// What a project becomes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mapped {
    /// The app's name.
    pub(crate) app: String,
    /// What is wanted of each deployment, by name.
    pub(crate) deployments: BTreeMap<String, DeploymentSpec>,
    /// Names of deployments whose services are there, and no profile selects.
    pub(crate) unselected: BTreeSet<String>,
}

/// The name of the deployment that a service becomes, as with Swarm.
pub(crate) fn deployment_name(app: &str, service: &str) -> String {
    format!("{app}_{service}")
}

/// Maps a project. What is wrong goes to `refusals`; `check` adds what it has against a spec.
pub(crate) fn map_project(
    project: &Project,
    refusals: &mut Refusals,
    mut check: impl FnMut(&DeploymentSpec, &mut Violations),
) -> Mapped {
    let app = &project.name;
    refused::in_project(project, refusals);
    let jobs = refused::jobs(project, refusals);
    let mut deployments = BTreeMap::new();
    for service in project.services.values().filter(|service| !jobs.contains(&service.name)) {
        refused::in_service(service, refusals);
        let spec = to_proto(project, service, &jobs, refusals);
        let mut violations = Violations::new();
        let read = convert::deployment_spec_from_proto(spec, "", &mut violations);
        if let Some((name, spec)) = read {
            check(&spec, &mut violations);
            deployments.insert(name, spec);
        }
        for violation in violations.0 {
            let (position, path) = told_at(service, &violation.field);
            refusals.wrong(position, &path, &violation.description);
        }
    }
    let unselected = project.disabled_services.iter().map(|service| deployment_name(app, service)).collect();
    Mapped { app: app.clone(), deployments, unselected }
}

/// The deployment that a service becomes.
fn to_proto(
    project: &Project,
    service: &Service,
    jobs: &BTreeSet<String>,
    refusals: &mut Refusals,
) -> v1::DeploymentSpec {
    let app = &project.name;
    let mut labels = service.labels.clone();
    labels.insert(APP_LABEL.to_owned(), app.clone());
    labels.insert(SERVICE_LABEL.to_owned(), service.name.clone());
    let runtime = v1::task_spec::Runtime::Container(container::container(project, service, refusals));
    let update = policy::update(service);
    let task = v1::TaskSpec {
        name: deployment_name(app, &service.name),
        labels,
        runtime: Some(runtime),
        resources: Some(policy::resources(service)),
        constraints: service.deploy.placement.constraints.iter().map(ToString::to_string).collect(),
        restart_policy: Some(policy::restart(service, completes_for(project, service), refusals)),
        stop_policy: policy::stop(service),
        on_node_loss: policy::node_loss(service),
        placement: Some(policy::placement(app, service, jobs)),
        health_check: health::check(service, refusals).map(Box::new),
    };
    v1::DeploymentSpec {
        name: deployment_name(app, &service.name),
        labels: service.deploy.labels.clone(),
        mode: Some(policy::mode(service)),
        task: Some(task),
        rollback_policy: policy::rollback(service),
        update_policy: Some(update),
        kept_versions: service.davit.kept_versions,
        app: app.clone(),
        start_after: dependencies(app, service, jobs),
    }
}

/// The first service that waits until this one has completed.
fn completes_for<'a>(project: &'a Project, service: &Service) -> Option<&'a str> {
    let waits = |other: &&Service| {
        let dependency = other.depends_on.get(&service.name);
        dependency.is_some_and(|dependency| dependency.condition == Condition::CompletedSuccessfully)
    };
    project.services.values().find(waits).map(|other| other.name.as_str())
}

fn dependencies(app: &str, service: &Service, jobs: &BTreeSet<String>) -> Vec<v1::Dependency> {
    let there = service.depends_on.iter().filter(|(name, _)| !jobs.contains(*name));
    let dependency = |(name, dependency): (&String, &davit_compose::Dependency)| {
        let condition = match dependency.condition {
            Condition::Started => v1::DependencyCondition::Started,
            Condition::Healthy => v1::DependencyCondition::Healthy,
            Condition::CompletedSuccessfully => v1::DependencyCondition::Completed,
        };
        v1::Dependency {
            deployment: deployment_name(app, name),
            condition: condition.into(),
            required: Some(dependency.required),
        }
    };
    there.map(dependency).collect()
}
