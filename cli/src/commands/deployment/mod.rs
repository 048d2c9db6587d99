//! `davit deployment`: keeps tasks running, and rolls changes of them out.

mod change;
mod policy;
mod scale;

use clap::{Args, Subcommand};
use davit_proto::v1;

use self::change::{CreateArgs, UpdateArgs};
use self::scale::ScaleArgs;
use super::gone::{Going, is_gone, stopping, until_each_is_gone};
use super::{INTERRUPTED, author, now, rollout};
use crate::args::Format;
use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{Output, deployment, deployments_table};

/// What is to be done with deployments.
#[derive(Debug, Subcommand)]
pub enum DeploymentCommand {
    /// Create a deployment and follow it until all its tasks are healthy
    Create(Box<CreateArgs>),
    /// List deployments
    Ls(LsArgs),
    /// Show all that is known of deployments
    Inspect(NamesArgs),
    /// Change what a deployment runs, and follow how that is rolled out. What is not given stays as it is
    Update(Box<UpdateArgs>),
    /// Change how many replicas there are, and follow it
    Scale(ScaleArgs),
    /// Make an earlier version the newest again
    Rollback(RollbackArgs),
    /// Let the slots behind the canaries follow, and follow that
    Promote(PromoteArgs),
    /// Replace nothing more for now
    Pause(NamesArgs),
    /// Go on with a rollout that is paused or has failed
    Resume(NamesArgs),
    /// Stop all tasks of deployments and delete them, and wait until they are gone
    Rm(RmArgs),
}

/// Arguments of `davit deployment ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only deployments with this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::args::key_value)]
    label: Vec<(String, String)>,
    /// Show only names
    #[arg(short, long)]
    quiet: bool,
}

/// Names deployments.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// The deployments, by name or id
    #[arg(required = true, value_name = "DEPLOYMENT")]
    deployments: Vec<String>,
}

/// Arguments of `davit deployment promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// Do not follow it
    #[arg(short, long)]
    detach: bool,
    /// The deployments, by name or id
    #[arg(required = true, value_name = "DEPLOYMENT")]
    deployments: Vec<String>,
}

/// Arguments of `davit deployment rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Do not wait until they are gone
    #[arg(short, long)]
    detach: bool,
    /// The deployments, by name or id
    #[arg(required = true, value_name = "DEPLOYMENT")]
    deployments: Vec<String>,
}

/// Arguments of `davit deployment rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// To this version; the last one whose tasks were all healthy and that runs something else, unless given
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    to: Option<u32>,
    /// Do not follow it
    #[arg(short, long)]
    detach: bool,
    /// The deployment, by name or id
    #[arg(value_name = "DEPLOYMENT")]
    deployment: String,
}

pub(super) async fn run(manager: &Manager, command: DeploymentCommand, output: &Output) -> Result<u8, Error> {
    match command {
        DeploymentCommand::Create(args) => change::create(manager, *args, output).await,
        DeploymentCommand::Update(args) => change::update(manager, *args, output).await,
        DeploymentCommand::Ls(args) => list(manager, &args, output).await.map(|()| 0),
        DeploymentCommand::Inspect(args) => {
            let found = all(manager, &args.deployments).await?;
            let text = |palette| found.iter().map(|one| deployment(one, now(), palette)).collect::<Vec<_>>().join("\n");
            output.list(&found, text).map(|()| 0)
        }
        DeploymentCommand::Scale(args) => scale::run(manager, &args, output).await,
        DeploymentCommand::Rollback(args) => {
            let version = args.to.unwrap_or(0);
            let request = v1::RollbackDeploymentRequest {
                deployment: args.deployment,
                version,
                author: author(),
                ..Default::default()
            };
            let answer = manager.deployments().rollback_deployment(call(request)).await;
            let back = answer.map_err(|status| manager.error(status))?.into_inner().deployment;
            follow_unless(args.detach, manager, back, output).await
        }
        DeploymentCommand::Promote(args) => {
            let mut promoted = Vec::new();
            for deployment in args.deployments {
                let request = v1::PromoteRolloutRequest { deployment, ..Default::default() };
                let answer = manager.deployments().promote_rollout(call(request)).await;
                promoted.extend(answer.map_err(|status| manager.error(status))?.into_inner().deployment);
            }
            follow_each_unless(args.detach, manager, &promoted, output).await
        }
        DeploymentCommand::Pause(args) => {
            let mut paused = Vec::new();
            for deployment in args.deployments {
                let answer = manager.deployments().pause_rollout(call(v1::PauseRolloutRequest { deployment })).await;
                paused.extend(answer.map_err(|status| manager.error(status))?.into_inner().deployment);
            }
            tell_all(&paused, output)
        }
        DeploymentCommand::Resume(args) => {
            let mut resumed = Vec::new();
            for deployment in args.deployments {
                let request = v1::ResumeRolloutRequest { deployment, ..Default::default() };
                let answer = manager.deployments().resume_rollout(call(request)).await;
                resumed.extend(answer.map_err(|status| manager.error(status))?.into_inner().deployment);
            }
            tell_all(&resumed, output)
        }
        DeploymentCommand::Rm(args) => remove(manager, &args, output).await,
    }
}

async fn remove(manager: &Manager, args: &RmArgs, output: &Output) -> Result<u8, Error> {
    // Before anything is deleted.
    let found = all(manager, &args.deployments).await?;
    for deployment in &found {
        let request =
            v1::DeleteDeploymentRequest { deployment: deployment.deployment_id.clone(), ..Default::default() };
        // Safe to repeat.
        let deleted =
            manager.repeat(async || manager.deployments().delete_deployment(call(request.clone())).await).await;
        match deleted {
            Err(error) if !is_gone(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    if args.detach {
        return tell_all(&found, output);
    }
    let going = found.iter().map(|one| Going { id: one.deployment_id.clone(), name: name(one).to_owned() }).collect();
    let left = async |id: &str| {
        let counts = manager.get_deployment(id).await?.counts.unwrap_or_default();
        Ok(stopping(counts.stopping))
    };
    let code = until_each_is_gone(going, left, "davit deployment ls", output).await?;
    if code == 0 && output.format != Format::Table {
        // As they were: there is nothing left to ask for.
        output.list(&found, |_| String::new())?;
    }
    Ok(code)
}

/// All of these, in their order, or an error.
async fn all(manager: &Manager, names: &[String]) -> Result<Vec<v1::Deployment>, Error> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(manager.get_deployment(name).await?);
    }
    Ok(found)
}

fn name(deployment: &v1::Deployment) -> &str {
    deployment.spec.as_ref().map(|spec| spec.name.as_str()).unwrap_or_default()
}

/// The names of deployments for people, a line each; the deployments for programs.
fn tell_all(deployments: &[v1::Deployment], output: &Output) -> Result<u8, Error> {
    let names = || deployments.iter().map(|one| format!("{}\n", name(one))).collect();
    output.list(deployments, |_| names()).map(|()| 0)
}

async fn list(manager: &Manager, args: &LsArgs, output: &Output) -> Result<(), Error> {
    let labels = args.label.iter().cloned().collect();
    let deployments = manager.list_deployments(v1::DeploymentFilter { labels, ..Default::default() }).await?;
    if args.quiet {
        return output.print(&deployments.iter().map(|one| format!("{}\n", name(one))).collect::<String>());
    }
    output.list(&deployments, |palette| deployments_table(&deployments, now(), palette))
}

/// Follows the rollouts of deployments that were changed, one after the other, or only says which ones they are. All of them go on
/// meanwhile: each takes as long as it would alone. The exit code is that of the worst.
async fn follow_each_unless(
    detach: bool,
    manager: &Manager,
    changed: &[v1::Deployment],
    output: &Output,
) -> Result<u8, Error> {
    if detach {
        return tell_all(changed, output);
    }
    let mut worst = 0;
    for deployment in changed {
        let code = rollout::stay(manager, &deployment.deployment_id, Some(deployment.version), false, output).await?;
        if code == INTERRUPTED {
            return Ok(code);
        }
        worst = worst.max(code);
    }
    Ok(worst)
}

/// Follows the rollout of a deployment that was changed, or only says which one it is.
async fn follow_unless(
    detach: bool,
    manager: &Manager,
    changed: Option<v1::Deployment>,
    output: &Output,
) -> Result<u8, Error> {
    let changed = changed.ok_or_else(|| no_content("deployment"))?;
    if !detach {
        return rollout::stay(manager, &changed.deployment_id, Some(changed.version), false, output).await;
    }
    output.object(&changed, |_| name(&changed).to_owned()).map(|()| 0)
}
