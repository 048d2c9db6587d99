//! Whose output is asked for, and which tasks that concerns.

use davit_proto::v1;

use super::super::gone::is_gone;
use super::LogsArgs;
use super::written::{Found, Written};
use crate::client::Manager;
use crate::error::Error;
use crate::output::{KnownNodes, task_name};
use crate::resolve::{self, Matches, Purpose};

/// Whose output is asked for.
#[derive(Debug)]
pub(super) enum Whose {
    Task(Box<v1::Task>),
    Whole(Whole),
}

/// What may have several tasks.
#[derive(Debug)]
pub(super) enum Whole {
    /// By its id: another one may get its name when it is gone.
    Deployment {
        id: String,
        name: String,
    },
    App(String),
}

pub(super) async fn find(manager: &Manager, args: &LogsArgs) -> Result<Whose, Error> {
    if let Some(deployment) = &args.deployment {
        return manager.get_deployment(deployment).await.map(|deployment| Whose::Whole(whole(&deployment)));
    }
    if let Some(app) = &args.app {
        let (deployments, jobs) = members(manager, app).await?;
        if deployments.is_empty() && jobs.is_empty() {
            return Err(Error::failed(format!("there is no app `{app}`; `davit apps` lists all")));
        }
        return Ok(Whose::Whole(Whole::App(app.clone())));
    }
    let reference = args.task.as_deref().unwrap_or_default();
    let matches = resolve::matches(manager, reference).await?;
    if let [task] = matches.tasks.as_slice() {
        return Ok(Whose::Task(Box::new(task.clone())));
    }
    if let Some(deployment) = found(manager.get_deployment(reference).await)?
        && are_of(&matches, &deployment)
    {
        return Ok(Whose::Whole(whole(&deployment)));
    }
    if let Some(job) = found(manager.get_job(reference).await)?
        && matches.tasks.iter().all(|task| task.job.as_ref().is_some_and(|place| place.job_id == job.job_id))
    {
        return Err(Error::failed(format!(
            "`{reference}` is a job: `davit job logs {reference}` shows what its tasks wrote"
        )));
    }
    match matches.one(reference, Purpose::Read)? {
        Some(task) => Ok(Whose::Task(Box::new(task))),
        None => Err(Error::failed(format!(
            "there is no task or deployment with the id or name `{reference}`; `davit ps -a` and `davit deployment ls` list all"
        ))),
    }
}

fn whole(deployment: &v1::Deployment) -> Whole {
    let name = deployment.spec.as_ref().map(|spec| spec.name.clone()).unwrap_or_default();
    Whole::Deployment { id: deployment.deployment_id.clone(), name }
}

/// Whether a name stands for nothing but tasks of a deployment.
fn are_of(matches: &Matches, deployment: &v1::Deployment) -> bool {
    let is_of =
        |task: &v1::Task| task.deployment.as_ref().is_some_and(|place| place.deployment_id == deployment.deployment_id);
    matches.tasks.iter().all(is_of)
}

/// What is there, unless nothing is called so, or can be.
fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Err(error) if matches!(error.code(), Some(tonic::Code::NotFound | tonic::Code::InvalidArgument)) => Ok(None),
        answer => answer.map(Some),
    }
}

impl Whole {
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Deployment { name, .. } => format!("deployment `{name}`"),
            Self::App(app) => format!("app `{app}`"),
        }
    }

    /// What there is to be read by now.
    pub(super) async fn look(&self, manager: &Manager) -> Result<Found, Error> {
        let filter = v1::TaskFilter::default();
        match self {
            Self::Deployment { id, .. } => {
                let tasks = listed(manager, v1::TaskFilter { deployment: id.clone(), ..filter }).await?;
                let has_ended = tasks.is_none();
                let tasks = tasks.unwrap_or_default();
                let nodes = nodes_of(manager, &tasks).await?;
                let places = tasks.into_iter().map(|task| (nodes.place_of(&task), task)).collect();
                Ok(all_of(places, has_ended))
            }
            Self::App(app) => {
                let (deployments, jobs) = members(manager, app).await?;
                let has_ended = deployments.is_empty() && jobs.is_empty();
                let mut tasks = Vec::new();
                for deployment in deployments {
                    let filter = v1::TaskFilter { deployment: deployment.deployment_id, ..filter.clone() };
                    tasks.extend(listed(manager, filter).await?.unwrap_or_default());
                }
                let nodes = nodes_of(manager, &tasks).await?;
                let mut places: Vec<_> = tasks.into_iter().map(|task| (nodes.place_of(&task), task)).collect();
                for job in jobs {
                    let filter = v1::TaskFilter { job: job.job_id.clone(), ..filter.clone() };
                    let tasks = listed(manager, filter).await?.unwrap_or_default();
                    places.extend(tasks.into_iter().filter_map(|task| Some((place_in_run(&job, &task)?, task))));
                }
                Ok(all_of(places, has_ended))
            }
        }
    }
}

/// All outputs of these tasks, of the older ones first: their ids order by creation.
fn all_of(mut tasks: Vec<(String, v1::Task)>, has_ended: bool) -> Found {
    tasks.sort_by(|(_, one), (_, other)| one.task_id.cmp(&other.task_id));
    let outputs = tasks.iter().flat_map(|(place, task)| Written::of_task(task, place)).collect();
    Found { outputs, several: true, has_ended }
}

/// Where a task of a job is, if its run is a current one: one that goes on, or the newest.
fn place_in_run(job: &v1::Job, task: &v1::Task) -> Option<String> {
    let place = task.job.as_ref()?;
    let run = job.runs.iter().find(|run| run.run == place.run)?;
    let is_newest = job.runs.last().is_some_and(|newest| newest.run == run.run);
    if run.finish_time.is_some() && !is_newest {
        return None;
    }
    let name = task_name(task);
    Some(if run.completions > 1 { format!("{name}, index {}", place.index) } else { name.to_owned() })
}

/// The deployments and jobs of an app.
async fn members(manager: &Manager, app: &str) -> Result<(Vec<v1::Deployment>, Vec<v1::Job>), Error> {
    let deployments = v1::DeploymentFilter { app: app.to_owned(), ..Default::default() };
    let jobs = v1::JobFilter { app: app.to_owned(), ..Default::default() };
    Ok((manager.list_deployments(deployments).await?, manager.list_jobs(jobs).await?))
}

/// Tasks of something; `None` if it is gone.
async fn listed(manager: &Manager, filter: v1::TaskFilter) -> Result<Option<Vec<v1::Task>>, Error> {
    match manager.list_tasks(filter).await {
        Err(error) if is_gone(&error) => Ok(None),
        answer => answer.map(|(tasks, _)| Some(tasks)),
    }
}

/// The names of nodes that are needed to tell places.
async fn nodes_of(manager: &Manager, tasks: &[v1::Task]) -> Result<KnownNodes, Error> {
    let is_on_one = |task: &v1::Task| task.deployment.as_ref().is_some_and(|place| !place.node_id.is_empty());
    if !tasks.iter().any(is_on_one) {
        return Ok(KnownNodes::default());
    }
    Ok(manager.list_nodes().await?.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{failed_task, running_task};

    #[test]
    fn the_older_tasks_come_first_whatever_they_are_of() {
        let tasks = vec![("batch.1".to_owned(), failed_task()), ("web.1".to_owned(), running_task())];
        let labels: Vec<_> = all_of(tasks, false).outputs.iter().map(Written::label).collect();
        assert_eq!(labels, ["web.1", "batch.1", "batch.1, attempt 2"]);
    }

    #[test]
    fn of_a_job_the_current_runs_are_shown() {
        let run = |run, ended: bool, completions| v1::JobRun {
            run,
            completions,
            finish_time: ended.then(prost_types::Timestamp::default),
            ..Default::default()
        };
        let runs = vec![run(1, true, 1), run(2, false, 3), run(3, true, 1)];
        let job = v1::Job { runs, ..Default::default() };
        let place = |run| {
            let place = v1::JobIndex { job_id: String::new(), run, index: 2 };
            place_in_run(&job, &v1::Task { job: Some(place), ..running_task() })
        };
        assert_eq!(place(1), None, "it has ended, and is not the newest");
        assert_eq!(place(2).as_deref(), Some("web, index 2"));
        assert_eq!(place(3).as_deref(), Some("web"));
        assert_eq!(place(4), None, "it is kept no more");
    }
}
