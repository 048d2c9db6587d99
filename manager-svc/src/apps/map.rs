//! What the services of a Compose project become in the cluster: a deployment each, or a job. What the cluster can't do yet is refused, or
//! dropped with a warning for a reader who is lenient.

mod container;
mod groups;
mod health;
mod job;
mod policy;
mod refused;
mod violations;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_compose::{Condition, Contents, Project, Service};
use davit_proto::{convert, v1};

pub(super) use self::health::usual_check;
pub(crate) use self::refused::Refusals;
use self::violations::told_at;
use davit_core::deployment::DeploymentSpec;
use davit_core::file::{ConfigKind, ConfigName, FileContent};
use davit_core::job::JobSpec;
use davit_core::spec::TaskSpec;
use davit_core::spec::check_name;
use davit_core::validate::Violations;

/// The label of tasks that names their app.
pub(super) const APP_LABEL: &str = "davit.app";
/// The label of tasks that names the service of their app.
pub(super) const SERVICE_LABEL: &str = "davit.service";

/// What a project becomes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mapped {
    /// The app's name.
    pub(crate) app: String,
    /// What is wanted of each deployment, by name.
    pub(crate) deployments: BTreeMap<String, DeploymentSpec>,
    /// What is wanted of each job, by name.
    pub(crate) jobs: BTreeMap<String, JobSpec>,
    /// What each config and secret holds that comes with it.
    pub(crate) configs: BTreeMap<ConfigName, FileContent>,
    /// Names of deployments and jobs whose services are there, and no profile selects.
    pub(crate) unselected: BTreeSet<String>,
}

/// The name of the deployment or job that a service becomes, as with Swarm.
pub(crate) fn deployment_name(app: &str, service: &str) -> String {
    format!("{app}_{service}")
}

/// Maps a project. What is wrong goes to `refusals`; `check` is given what comes with the project, has specs name
/// versions of their configs and secrets, and adds what it has against them.
pub(crate) fn map_project(
    project: &Project,
    refusals: &mut Refusals,
    mut check: impl FnMut(&BTreeMap<ConfigName, FileContent>, &mut Arc<TaskSpec>, &mut Violations),
) -> Mapped {
    let app = &project.name;
    let configs = configs(project, refusals);
    let groups = groups::of_services(project, refusals);
    let (mut deployments, mut jobs) = (BTreeMap::new(), BTreeMap::new());
    for service in project.services.values() {
        let mut violations = Violations::new();
        if is_job(service) {
            refused::in_job(service, refusals);
            let mut spec = job_to_proto(project, service, refusals);
            put_in_group(spec.task.as_mut(), groups.get(&service.name));
            if let Some((name, mut spec)) = convert::job_spec_from_proto(spec, "", &mut violations) {
                check(&configs, &mut spec.task, &mut violations);
                jobs.insert(name, spec);
            }
        } else {
            let mut spec = to_proto(project, service, refusals);
            put_in_group(spec.task.as_mut(), groups.get(&service.name));
            if let Some((name, mut spec)) = convert::deployment_spec_from_proto(spec, "", &mut violations) {
                check(&configs, &mut spec.task, &mut violations);
                deployments.insert(name, spec);
            }
        }
        for violation in violations.0 {
            let (position, path) = told_at(service, &violation.field);
            refusals.wrong(position, &path, &violation.description);
        }
    }
    let unselected = project.disabled_services.iter().map(|service| deployment_name(app, service)).collect();
    Mapped { app: app.clone(), deployments, jobs, configs, unselected }
}

/// Configs and secrets that come with the project.
fn configs(project: &Project, refusals: &mut Refusals) -> BTreeMap<ConfigName, FileContent> {
    let mut configs = BTreeMap::new();
    for (kind, key, declared) in
        [(ConfigKind::Config, "configs", &project.configs), (ConfigKind::Secret, "secrets", &project.secrets)]
    {
        for (name, stored) in declared {
            let Contents::Given(bytes) = &stored.contents else { continue };
            let path = format!("{key}.{name}");
            if let Err(problem) = check_name(&stored.name) {
                refusals.wrong(&stored.position, &path, &format!("its name {problem}"));
                continue;
            }
            let named = ConfigName { kind, name: stored.name.clone() };
            if configs.insert(named, FileContent::new(bytes.0.as_slice())).is_some() {
                refusals.wrong(&stored.position, &path, "another one has the same name in the cluster");
            }
        }
    }
    configs
}

/// Has the tasks of a service be on the node of its group.
fn put_in_group(task: Option<&mut v1::TaskSpec>, group: Option<&v1::Colocation>) {
    if let Some(placement) = task.and_then(|task| task.placement.as_mut()) {
        placement.colocation = group.cloned();
    }
}

/// Whether a service becomes a job.
fn is_job(service: &Service) -> bool {
    service.davit.job.is_some() || service.deploy.mode.is_job()
}

/// What each task of a service runs, but for what follows its end.
fn task_to_proto(project: &Project, service: &Service, refusals: &mut Refusals) -> v1::TaskSpec {
    let app = &project.name;
    let mut labels = service.labels.clone();
    labels.insert(APP_LABEL.to_owned(), app.clone());
    labels.insert(SERVICE_LABEL.to_owned(), service.name.clone());
    let runtime = v1::task_spec::Runtime::Container(container::container(project, service, refusals));
    v1::TaskSpec {
        name: deployment_name(app, &service.name),
        labels,
        runtime: Some(runtime),
        resources: Some(policy::resources(service)),
        constraints: service.deploy.placement.constraints.iter().map(ToString::to_string).collect(),
        restart_policy: None,
        stop_policy: policy::stop(service),
        on_node_loss: policy::node_loss(service),
        placement: Some(policy::placement(app, service)),
        health_check: health::check(service, refusals).map(Box::new),
    }
}

/// The deployment that a service becomes.
fn to_proto(project: &Project, service: &Service, refusals: &mut Refusals) -> v1::DeploymentSpec {
    let app = &project.name;
    let restart = policy::restart(service, completes_for(project, service), refusals);
    let task = v1::TaskSpec { restart_policy: Some(restart), ..task_to_proto(project, service, refusals) };
    let update = policy::update(service);
    v1::DeploymentSpec {
        name: deployment_name(app, &service.name),
        labels: service.deploy.labels.clone(),
        mode: Some(policy::mode(service)),
        task: Some(task),
        rollback_policy: policy::rollback(service),
        update_policy: Some(update),
        kept_versions: service.davit.kept_versions,
        app: app.clone(),
        start_after: dependencies(app, service),
    }
}

/// The job that a service becomes.
fn job_to_proto(project: &Project, service: &Service, refusals: &mut Refusals) -> v1::JobSpec {
    let app = &project.name;
    let task = v1::TaskSpec { restart_policy: job::restart(service), ..task_to_proto(project, service, refusals) };
    let spec = v1::JobSpec {
        name: deployment_name(app, &service.name),
        labels: service.deploy.labels.clone(),
        task: Some(task),
        app: app.clone(),
        start_after: dependencies(app, service),
        ..Default::default()
    };
    job::with_options(spec, service)
}

/// The first service that waits until this one has completed.
fn completes_for<'a>(project: &'a Project, service: &Service) -> Option<&'a str> {
    let waits = |other: &&Service| {
        let dependency = other.depends_on.get(&service.name);
        dependency.is_some_and(|dependency| dependency.condition == Condition::CompletedSuccessfully)
    };
    project.services.values().find(waits).map(|other| other.name.as_str())
}

fn dependencies(app: &str, service: &Service) -> Vec<v1::Dependency> {
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
    service.depends_on.iter().map(dependency).collect()
}
