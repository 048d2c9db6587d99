//! `davit down`: deletes an app, and waits until it is gone.

use std::time::Duration;

use davit_core::words::counted;
use davit_proto::v1;
use tokio::time::Instant;

use super::{SourceArgs, read};
use crate::client::{Manager, call};
use crate::commands::INTERRUPTED;
use crate::commands::gone::until_nothing_is_left;
use crate::error::Error;
use crate::output::{Output, held_up_line, may_hold_up};

/// The label of an app's tasks.
const APP_LABEL: &str = "davit.app";
/// How often it is looked which nodes hold it up.
const NODES_PERIOD: Duration = Duration::from_secs(1);
/// So many tasks that are held up are named, and of so many nodes.
const NAMED: usize = 8;

/// Arguments of `davit down`.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// Which files.
    #[command(flatten)]
    source: SourceArgs,
    /// Do not wait until it is gone
    #[arg(short, long)]
    detach: bool,
}

/// Deletes an app, and waits until it is gone.
pub(in crate::commands) async fn down(manager: &Manager, args: DownArgs, output: &Output) -> Result<u8, Error> {
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

async fn until_gone(manager: &Manager, app: &str, output: &Output) -> Result<(), Error> {
    let filter = v1::DeploymentFilter { app: app.to_owned(), ..Default::default() };
    let (mut held_up, mut looked_at) = (Vec::new(), None::<Instant>);
    until_nothing_is_left(output, async || {
        let left = manager.list_deployments(filter.clone()).await?;
        let left: Vec<_> = left.iter().filter(|deployment| deployment.deleting).collect();
        let jobs = manager.list_jobs(v1::JobFilter { app: app.to_owned(), ..Default::default() }).await?;
        let jobs: Vec<_> = jobs.iter().filter(|job| job.deleting).collect();
        if left.is_empty() && jobs.is_empty() {
            return Ok(None);
        }
        if looked_at.is_none_or(|at| at.elapsed() >= NODES_PERIOD) {
            held_up = what_is_held_up(manager, app).await?;
            looked_at = Some(Instant::now());
        }
        let of_deployments = left.iter().filter_map(|deployment| deployment.counts).map(|counts| counts.stopping);
        let of_jobs = jobs.iter().flat_map(|job| &job.runs).map(|run| run.active_count);
        let tasks = of_deployments.chain(of_jobs).sum();
        Ok(Some(left_text(app, left.len(), jobs.len(), tasks, &held_up)))
    })
    .await
}

/// A line for each task that can't be stopped now, because its node is not in touch or its runtime does not answer.
async fn what_is_held_up(manager: &Manager, app: &str) -> Result<Vec<String>, Error> {
    let nodes = manager.list_nodes().await?;
    let mut lines = Vec::new();
    for node in nodes.iter().filter(|node| may_hold_up(node)).take(NAMED) {
        let labels = [(APP_LABEL.to_owned(), app.to_owned())].into();
        let filter = v1::TaskFilter { node: node.node_id.clone(), labels, ..Default::default() };
        let (tasks, _) = manager.list_tasks(filter).await?;
        lines.extend(tasks.iter().filter_map(|task| held_up_line(task, node)));
    }
    Ok(lines)
}

/// What is left of an app that is being deleted, and what of it takes its time.
fn left_text(app: &str, deployments: usize, jobs: usize, tasks: u32, held_up: &[String]) -> String {
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
    let mut text = format!("{app}: {} left{stopping}", left.join(" and "));
    held_up.iter().take(NAMED).for_each(|line| text.push_str(&format!("\n  {line}")));
    let more = held_up.len().saturating_sub(NAMED);
    if more > 0 {
        text.push_str(&format!("\n  … and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_app_is_counted_and_what_is_held_up_is_named() {
        assert_eq!(left_text("shop", 1, 0, 0, &[]), "shop: 1 deployment left");
        assert_eq!(left_text("shop", 2, 1, 1, &[]), "shop: 2 deployments and 1 job left, 1 task is stopping");
        assert_eq!(left_text("shop", 0, 2, 3, &[]), "shop: 2 jobs left, 3 tasks are stopping");
        let held_up: Vec<String> = (0..10).map(|index| format!("shop_web on node-{index}")).collect();
        let text = left_text("shop", 1, 0, 10, &held_up);
        assert!(text.starts_with("shop: 1 deployment left, 10 tasks are stopping\n  shop_web on node-0\n"), "{text}");
        assert!(text.ends_with("\n  shop_web on node-7\n  … and 2 more"), "{text}");
    }
}
