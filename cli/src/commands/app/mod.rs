//! `davit plan`, `up`, `down` and `apps`: apps as Docker Compose files describe them.

mod files;
mod follow;
mod refused;
mod source;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use davit_core::words::counted;
use davit_proto::v1;

use self::follow::{follow_all, worst_of};
use self::refused::told_whole;
use self::source::{ReadSource, read_source};
use super::INTERRUPTED;
use super::gone::{is_gone, until_nothing_is_left};
use crate::args::Format;
use crate::client::{Manager, call};
use crate::error::Error;
use crate::output::{Output, Tone, app_plan, apps_table, run_line};

/// The exit code of a plan that would change something.
const CHANGES: u8 = 2;
/// The exit code of a plan that can't be made.
pub const NO_PLAN: u8 = 1;

/// Which files, and how they are read.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// A Compose file, `-` for standard input; may be repeated, later ones win. Without it what COMPOSE_FILE names, else
    /// compose.yaml, compose.yml, docker-compose.yml or docker-compose.yaml here or in a directory above, with the file of
    /// overrides beside it
    #[arg(short, long, value_name = "FILE")]
    file: Vec<String>,
    /// Select a profile, `*` for all; may be repeated
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// A file of variables, instead of `.env`; may be repeated
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// The app's name, whatever files and directories say
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    project_name: Option<String>,
    /// Drop keys that are unknown or not supported, with a warning
    #[arg(long)]
    lenient: bool,
}

/// Arguments of `davit plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Which files.
    #[command(flatten)]
    source: SourceArgs,
    /// Leave deployments whose services are gone
    #[arg(long)]
    no_prune: bool,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

/// Arguments of `davit up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Which files.
    #[command(flatten)]
    source: SourceArgs,
    /// Leave deployments whose services are gone
    #[arg(long)]
    no_prune: bool,
    /// Only if it does what was planned: the `planToken` of davit plan --json
    #[arg(long, value_name = "TOKEN", value_parser = NonEmptyStringValueParser::new())]
    plan: Option<String>,
    /// Do not follow the rollouts
    #[arg(short, long)]
    detach: bool,
}

/// Arguments of `davit down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Which files.
    #[command(flatten)]
    source: SourceArgs,
    /// Do not wait until it is gone
    #[arg(short, long)]
    detach: bool,
}

/// Tells what `up` would do. The exit code says whether there is anything.
pub(super) async fn plan(manager: &Manager, args: PlanArgs, output: &Output) -> Result<u8, Error> {
    let ReadSource { source, input, .. } = read(args.source, output).await?;
    let request = v1::PlanAppRequest { source: Some(source), prune: Some(!args.no_prune) };
    let plan = manager.repeat(async || manager.deployments().plan_app(call(request.clone())).await).await;
    let plan = plan.map_err(|error| told_whole(error, &input))?;
    warn(&plan.warnings, output);
    let output = if args.json { Output { format: Format::Json, ..*output } } else { *output };
    output.object(&plan, |palette| app_plan(&plan, palette))?;
    Ok(if has_changes(&plan.deployments, &plan.jobs) { CHANGES } else { 0 })
}

/// Whether anything would change, or has changed.
fn has_changes(deployments: &[v1::PlannedDeployment], jobs: &[v1::PlannedJob]) -> bool {
    let of_deployments = deployments.iter().map(v1::PlannedDeployment::action);
    of_deployments.chain(jobs.iter().map(v1::PlannedJob::action)).any(|action| action != v1::PlannedAction::Unchanged)
}

/// Makes it so, and follows the rollouts.
pub(super) async fn up(manager: &Manager, args: UpArgs, output: &Output) -> Result<u8, Error> {
    let ReadSource { source, input, .. } = read(args.source, output).await?;
    let request = v1::ApplyAppRequest {
        source: Some(source),
        prune: Some(!args.no_prune),
        plan_token: args.plan.unwrap_or_default(),
        author: super::author(),
    };
    let applied = manager.repeat(async || manager.deployments().apply_app(call(request.clone())).await).await;
    let applied = applied.map_err(|error| told_whole(error, &input))?;
    warn(&applied.warnings, output);
    if !has_changes(&applied.deployments, &applied.jobs) {
        output.note(&format!("{}: nothing to change", applied.app));
    }
    if args.detach {
        return output.object(&applied, |_| names(&applied)).map(|()| 0);
    }
    for planned in applied.jobs.iter().filter(|planned| planned.begins_run) {
        output.note(&format!("{} runs; `davit job inspect {}` tells how far it is", planned.job, planned.job));
    }
    let followed = tokio::select! {
        followed = follow_all(manager, &applied.deployments, output) => followed,
        _ = tokio::signal::ctrl_c() => {
            output.note(&format!("The rollouts of {} go on; `davit up` shows them again.", applied.app));
            return Ok(INTERRUPTED);
        }
    };
    let code = worst_of(followed?, look_at_runs(manager, &applied.jobs, output).await?);
    if output.format != Format::Table {
        output.object(&applied, |_| String::new())?;
    }
    Ok(code)
}

/// Tells how far the runs are that were begun: they may take hours, and are not waited for. The exit code: 1 if one has failed by now.
async fn look_at_runs(manager: &Manager, jobs: &[v1::PlannedJob], output: &Output) -> Result<u8, Error> {
    let mut code = 0;
    for planned in jobs.iter().filter(|planned| planned.begins_run) {
        let job = match manager.get_job(&planned.job).await {
            // It had no time to live.
            Err(error) if is_gone(&error) => continue,
            job => job?,
        };
        let Some(run) = job.runs.last() else { continue };
        output.note(&run_line(&planned.job, run, output.message_palette));
        code = code.max(u8::from(run.state() == v1::JobRunState::Failed));
    }
    Ok(code)
}

/// Deletes an app, and waits until it is gone.
pub(super) async fn down(manager: &Manager, args: DownArgs, output: &Output) -> Result<u8, Error> {
    let app = match args.source.project_name.clone().filter(|_| args.source.file.is_empty()) {
        Some(name) => name,
        None => read(args.source, output).await?.app_name()?,
    };
    let request = v1::DeleteAppRequest { app: app.clone() };
    let deleted = manager.repeat(async || manager.deployments().delete_app(call(request.clone())).await).await?;
    if !args.detach {
        tokio::select! {
            gone = until_gone(manager, &app, output) => gone?,
            _ = tokio::signal::ctrl_c() => {
                output.note(&format!("{app} goes on stopping; `davit apps` shows when it is gone."));
                return Ok(INTERRUPTED);
            }
        }
    }
    let names = || deleted.deployments.iter().chain(&deleted.jobs).map(|name| format!("{name}\n")).collect();
    output.object(&deleted, |_| names())?;
    Ok(0)
}

/// Lists apps.
pub(super) async fn list(manager: &Manager, no_trunc: bool, output: &Output) -> Result<(), Error> {
    let mut apps = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListAppsRequest { page_size: 1000, page_token };
        let page = manager.repeat(async || manager.deployments().list_apps(call(request.clone())).await).await?;
        apps.extend(page.apps);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.list(&apps, |palette| apps_table(&apps, no_trunc, palette))
}

async fn until_gone(manager: &Manager, app: &str, output: &Output) -> Result<(), Error> {
    let filter = v1::DeploymentFilter { app: app.to_owned(), ..Default::default() };
    until_nothing_is_left(output, async || {
        let left = manager.list_deployments(filter.clone()).await?;
        let left: Vec<_> = left.iter().filter(|deployment| deployment.deleting).collect();
        let jobs = manager.list_jobs(v1::JobFilter { app: app.to_owned(), ..Default::default() }).await?;
        let jobs = jobs.iter().filter(|job| job.deleting).count();
        if left.is_empty() && jobs == 0 {
            return Ok(None);
        }
        let tasks: u32 = left.iter().filter_map(|deployment| deployment.counts).map(|counts| counts.stopping).sum();
        Ok(Some(left_line(app, left.len(), jobs, tasks)))
    })
    .await
}

/// What is left of an app that is being deleted.
fn left_line(app: &str, deployments: usize, jobs: usize, tasks: u32) -> String {
    let mut left = Vec::new();
    if deployments > 0 {
        left.push(counted(deployments as u64, "deployment", "deployments"));
    }
    if jobs > 0 {
        left.push(counted(jobs as u64, "job", "jobs"));
    }
    let stopping = match tasks {
        0 => String::new(),
        tasks => format!(", {} stopping", counted(tasks.into(), "task is", "tasks are")),
    };
    format!("{app}: {} left{stopping}", left.join(" and "))
}

async fn read(args: SourceArgs, output: &Output) -> Result<ReadSource, Error> {
    let environment = |name: &str| std::env::var(name).ok();
    let read = tokio::task::spawn_blocking(move || read_source(&args, environment));
    let read = read.await.map_err(|problem| Error::failed(format!("reading files broke: {problem}")))??;
    warn(&read.warnings, output);
    Ok(read)
}

/// Tells what may not be as it was meant.
fn warn(warnings: &[String], output: &Output) {
    for warning in warnings {
        output.note(&output.message_palette.paint(Tone::Waiting, warning));
    }
}

fn names(applied: &v1::ApplyAppResponse) -> String {
    let of_deployments = applied.deployments.iter().map(|planned| &planned.deployment);
    of_deployments.chain(applied.jobs.iter().map(|planned| &planned.job)).map(|name| format!("{name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_app_is_counted() {
        assert_eq!(left_line("shop", 1, 0, 0), "shop: 1 deployment left");
        assert_eq!(left_line("shop", 2, 1, 1), "shop: 2 deployments and 1 job left, 1 task is stopping");
        assert_eq!(left_line("shop", 0, 2, 3), "shop: 2 jobs left, 3 tasks are stopping");
    }
}
