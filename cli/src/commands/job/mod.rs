//! `davit job`: has tasks finish, once or on a schedule.

mod follow;
mod logs;
mod spec;

use clap::{Args, Subcommand};
use davit_proto::v1;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};

use self::logs::LogsArgs;
use self::spec::JobArgs;
use super::gone::{Going, is_gone, stopping, until_each_is_gone};
use super::now;
use super::spec::{ChangeArgs, PlacementArgs, SpecArgs, remove_keys, task_with_its_own_restarts, with_options};
use crate::args::Format;
use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{Output, job, jobs_table};

/// What is to be done with jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Create a job and, unless it has a schedule, follow its run until that has ended
    Run(Box<RunArgs>),
    /// Run a job once more, now, and follow that
    Start(StartArgs),
    /// List jobs
    Ls(LsArgs),
    /// Show all that is known of jobs
    Inspect(NamesArgs),
    /// Show what the tasks of a job's run wrote; with --follow, what they write until it has ended
    Logs(LogsArgs),
    /// Change what a job runs, and when; runs that have begun go on as they began. What is not given stays as it is
    Update(Box<UpdateArgs>),
    /// Begin no more runs, and no more tasks of those that go on
    Pause(NamesArgs),
    /// Go on with jobs that are paused
    Resume(NamesArgs),
    /// Stop the runs of a job that go on
    Stop(StopArgs),
    /// Stop all tasks of jobs and delete them, and wait until they are gone
    Rm(RmArgs),
}

const RESTART: &str = "Whether an index whose task failed is tried again, as often as --retries says: never, on-failure; unless \
                       set on-failure";
const NAME: &str = "Name of the job and of its tasks; made from the image or program unless set";
const NEW_NAME: &str = "Rename the tasks of runs that come; the job keeps its name";

/// Arguments of `davit job run`.
#[derive(Debug, Args)]
#[command(mut_arg("restart", |arg| arg.help(RESTART)), mut_arg("name", |arg| arg.help(NAME)))]
pub struct RunArgs {
    /// The image and the command's words; with --process only the command's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND]")]
    words: Vec<String>,
    /// Do not follow it
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    options: JobArgs,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    placement: PlacementArgs,
}

/// Arguments of `davit job update`.
#[derive(Debug, Args)]
#[command(mut_arg("restart", |arg| arg.help(RESTART)), mut_arg("name", |arg| arg.help(NEW_NAME)))]
pub struct UpdateArgs {
    /// The job, by name or id
    #[arg(value_name = "JOB")]
    job: String,
    /// Remove a label of the job itself. May be repeated
    #[arg(long, value_name = "KEY")]
    job_label_rm: Vec<String>,
    /// Remove its schedule: it runs no more by itself
    #[arg(long, conflicts_with_all = ["cron", "time_zone", "overlap", "start_deadline", "missed"])]
    no_cron: bool,
    /// Remove the deadline of its runs
    #[arg(long, conflicts_with = "deadline")]
    no_deadline: bool,
    /// Keep what has ended whatever its age
    #[arg(long, conflicts_with = "ttl")]
    no_ttl: bool,
    #[command(flatten)]
    options: JobArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    placement: PlacementArgs,
}

/// Arguments of `davit job start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Do not follow it
    #[arg(short, long)]
    detach: bool,
    /// The job, by name or id
    #[arg(value_name = "JOB")]
    job: String,
}

/// Arguments of `davit job rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Do not wait until they are gone
    #[arg(short, long)]
    detach: bool,
    /// The jobs, by name or id
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

/// Arguments of `davit job stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Only this run
    #[arg(long, value_name = "RUN", value_parser = clap::value_parser!(u32).range(1..))]
    run: Option<u32>,
    /// The job, by name or id
    #[arg(value_name = "JOB")]
    job: String,
}

/// Arguments of `davit job ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only jobs with this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::args::key_value)]
    label: Vec<(String, String)>,
    /// Show only names
    #[arg(short, long)]
    quiet: bool,
}

/// Names jobs.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// The jobs, by name or id
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
}

pub(super) async fn run(manager: &Manager, command: JobCommand, output: &Output) -> Result<u8, Error> {
    match command {
        JobCommand::Run(args) => create(manager, *args, output).await,
        JobCommand::Start(args) => start(manager, args, output).await,
        JobCommand::Ls(args) => list(manager, &args, output).await.map(|()| 0),
        JobCommand::Inspect(args) => {
            let found = all(manager, &args.jobs).await?;
            let text = |palette| found.iter().map(|one| job(one, now(), palette)).collect::<Vec<_>>().join("\n");
            output.list(&found, text).map(|()| 0)
        }
        JobCommand::Logs(args) => logs::run(manager, &args, output).await.map(|()| 0),
        JobCommand::Update(args) => update(manager, *args, output).await,
        JobCommand::Pause(args) => {
            let mut paused = Vec::new();
            for job in args.jobs {
                let request = v1::PauseJobRequest { job };
                // Safe to repeat, as the others below.
                let answer = manager.repeat(async || manager.jobs().pause_job(call(request.clone())).await).await?;
                paused.extend(answer.job);
            }
            tell_all(&paused, output)
        }
        JobCommand::Resume(args) => {
            let mut resumed = Vec::new();
            for job in args.jobs {
                let request = v1::ResumeJobRequest { job };
                let answer = manager.repeat(async || manager.jobs().resume_job(call(request.clone())).await).await?;
                resumed.extend(answer.job);
            }
            tell_all(&resumed, output)
        }
        JobCommand::Stop(args) => {
            let request = v1::StopJobRunRequest { job: args.job, run: args.run.unwrap_or(0) };
            let answer = manager.repeat(async || manager.jobs().stop_job_run(call(request.clone())).await).await?;
            tell(&answer.job.ok_or_else(|| no_content("job"))?, output)
        }
        JobCommand::Rm(args) => remove(manager, &args, output).await,
    }
}

async fn remove(manager: &Manager, args: &RmArgs, output: &Output) -> Result<u8, Error> {
    // Before anything is deleted.
    let found = all(manager, &args.jobs).await?;
    for job in &found {
        let request = v1::DeleteJobRequest { job: job.job_id.clone(), ..Default::default() };
        let deleted = manager.repeat(async || manager.jobs().delete_job(call(request.clone())).await).await;
        match deleted {
            Err(error) if !is_gone(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    if args.detach {
        return tell_all(&found, output);
    }
    let going = found.iter().map(|job| Going { id: job.job_id.clone(), name: name(job).to_owned() }).collect();
    let left = async |id: &str| {
        let active: u32 = manager.get_job(id).await?.runs.iter().map(|run| run.active_count).sum();
        Ok(stopping(active))
    };
    let code = until_each_is_gone(going, left, "davit job ls", output).await?;
    if code == 0 && output.format != Format::Table {
        // As they were: there is nothing left to ask for.
        output.list(&found, |_| String::new())?;
    }
    Ok(code)
}

/// All of these, in their order, or an error.
async fn all(manager: &Manager, names: &[String]) -> Result<Vec<v1::Job>, Error> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(manager.get_job(name).await?);
    }
    Ok(found)
}

fn name(job: &v1::Job) -> &str {
    job.spec.as_ref().map(|spec| spec.name.as_str()).unwrap_or_default()
}

async fn create(manager: &Manager, args: RunArgs, output: &Output) -> Result<u8, Error> {
    let here = |key: &str| std::env::var(key).ok();
    let task = task_with_its_own_restarts(args.spec, args.placement, args.words, here)?;
    let mut spec = v1::JobSpec { name: task.name.clone(), task: Some(task), ..Default::default() };
    args.options.over(&mut spec)?;
    let request_id = UuidV7Source.next_uuid().to_string();
    let request = v1::CreateJobRequest { spec: Some(spec), request_id, validate_only: false };
    let created = manager.repeat(async || manager.jobs().create_job(call(request.clone())).await).await?;
    let created = created.job.ok_or_else(|| no_content("job"))?;
    let first = created.runs.last().map(|run| run.run);
    match first.filter(|_| !args.detach) {
        Some(run) => follow::stay(manager, &created, run, output).await,
        None => tell(&created, output),
    }
}

async fn start(manager: &Manager, args: StartArgs, output: &Output) -> Result<u8, Error> {
    let request_id = UuidV7Source.next_uuid().to_string();
    let request = v1::RunJobRequest { job: args.job, request_id };
    let begun = manager.repeat(async || manager.jobs().run_job(call(request.clone())).await).await?;
    let job = begun.job.ok_or_else(|| no_content("job"))?;
    if args.detach { tell(&job, output) } else { follow::stay(manager, &job, begun.run, output).await }
}

async fn update(manager: &Manager, args: UpdateArgs, output: &Output) -> Result<u8, Error> {
    let known = manager.get_job(&args.job).await?;
    let mut spec = known.spec.unwrap_or_default();
    let here = |key: &str| std::env::var(key).ok();
    remove_keys("--job-label-rm", &mut spec.labels, &args.job_label_rm)?;
    spec.schedule = spec.schedule.filter(|_| !args.no_cron);
    spec.deadline = spec.deadline.filter(|_| !args.no_deadline);
    spec.time_to_live = spec.time_to_live.filter(|_| !args.no_ttl);
    let task = args.change.over(spec.task.unwrap_or_default())?;
    spec.task = Some(with_options(task, args.spec, args.placement, here)?);
    args.options.over(&mut spec)?;
    // What was read is what is changed, or nothing is.
    let request = v1::UpdateJobRequest { job: known.job_id, spec: Some(spec), etag: known.etag, ..Default::default() };
    let answer = manager.jobs().update_job(call(request)).await;
    let updated = answer.map_err(|status| manager.error(status))?.into_inner().job;
    tell(&updated.ok_or_else(|| no_content("job"))?, output)
}

/// The name of a job for people, the job for programs.
fn tell(job: &v1::Job, output: &Output) -> Result<u8, Error> {
    output.object(job, |_| name(job).to_owned()).map(|()| 0)
}

/// The names of jobs for people, a line each; the jobs for programs.
fn tell_all(jobs: &[v1::Job], output: &Output) -> Result<u8, Error> {
    let names = || jobs.iter().map(|job| format!("{}\n", name(job))).collect();
    output.list(jobs, |_| names()).map(|()| 0)
}

async fn list(manager: &Manager, args: &LsArgs, output: &Output) -> Result<(), Error> {
    let labels = args.label.iter().cloned().collect();
    let jobs = manager.list_jobs(v1::JobFilter { labels, ..Default::default() }).await?;
    if args.quiet {
        return output.print(&jobs.iter().map(|job| format!("{}\n", name(job))).collect::<String>());
    }
    output.list(&jobs, |palette| jobs_table(&jobs, now(), palette))
}
