//! `davit down`: deletes an app, and waits until it is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use davit_core::words::counted;
use davit_proto::v1;
use tokio::time::Instant;

use super::{SourceArgs, read};
use crate::client::{Manager, call};
use crate::commands::INTERRUPTED;
use crate::commands::gone::{is_gone, until_nothing_is_left};
use crate::error::Error;
use crate::output::{Output, held_up_line, may_hold_up};

/// The label of an app's tasks.
const APP_LABEL: &str = "davit.app";
/// How often it is looked which nodes hold it up.
const NODES_PERIOD: Duration = Duration::from_millis(500);
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
    let deleted = match manager.repeat(async || manager.deployments().delete_app(call(request.clone())).await).await {
        // Scripts that clean up do so also where nothing is left.
        Err(error) if is_gone(&error) => {
            output.note(&format!("there is no app `{app}`: nothing to delete"));
            v1::DeleteAppResponse::default()
        }
        deleted => deleted?,
    };
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
    // What goes at once is not to be told of.
    let mut looked_at = Instant::now();
    let mut told = BTreeSet::new();
    until_nothing_is_left(output, async || {
        let left = manager.list_deployments(filter.clone()).await?;
        let left: Vec<_> = left.iter().filter(|deployment| deployment.deleting).collect();
        let jobs = manager.list_jobs(v1::JobFilter { app: app.to_owned(), ..Default::default() }).await?;
        let jobs: Vec<_> = jobs.iter().filter(|job| job.deleting).collect();
        if left.is_empty() && jobs.is_empty() {
            return Ok(None);
        }
        if looked_at.elapsed() >= NODES_PERIOD {
            let held_up = what_is_held_up(manager, app).await?;
            news_of(&held_up, &mut told).iter().for_each(|line| output.note(line));
            looked_at = Instant::now();
        }
        let of_deployments = left.iter().filter_map(|deployment| deployment.counts).map(|counts| counts.stopping);
        let of_jobs = jobs.iter().flat_map(|job| &job.runs).map(|run| run.active_count);
        let tasks = of_deployments.chain(of_jobs).sum();
        Ok(Some(left_line(app, left.len(), jobs.len(), tasks)))
    })
    .await
}

/// What of that was not told yet, of many only some.
fn news_of(held_up: &[String], told: &mut BTreeSet<String>) -> Vec<String> {
    let new: Vec<&String> = held_up.iter().filter(|line| !told.contains(*line)).collect();
    let mut lines: Vec<String> = new.iter().take(NAMED).map(|line| format!("  {line}")).collect();
    let more = new.len().saturating_sub(NAMED);
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    told.extend(new.into_iter().cloned());
    lines
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_app_is_counted() {
        assert_eq!(left_line("shop", 1, 0, 0), "shop: 1 deployment left");
        assert_eq!(left_line("shop", 2, 1, 1), "shop: 2 deployments and 1 job left, 1 task is stopping");
        assert_eq!(left_line("shop", 0, 2, 3), "shop: 2 jobs left, 3 tasks are stopping");
    }

    #[test]
    fn what_is_held_up_is_told_once_and_of_many_some() {
        let held_up: Vec<String> = (0..10).map(|index| format!("shop_web slot {index} on node-2")).collect();
        let mut told = BTreeSet::new();
        assert_eq!(news_of(&held_up[..1], &mut told), ["  shop_web slot 0 on node-2"]);
        let more = news_of(&held_up, &mut told);
        assert_eq!((more.len(), more.first().map(String::as_str)), (NAMED + 1, Some("  shop_web slot 1 on node-2")));
        assert_eq!(more.last().map(String::as_str), Some("  … and 1 more"));
        assert!(news_of(&held_up, &mut told).is_empty());
    }
}
