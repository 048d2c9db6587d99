//! Creates and updates deployments.

use clap::Args;
use davit_proto::v1;
use davit_proto::v1::deployment_spec::Mode;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};

use super::follow_unless;
use super::policy::PolicyArgs;
use crate::args::key_value;
use crate::client::{Manager, call};
use crate::commands::author;
use crate::commands::spec::{PlacementArgs, SpecArgs, task_with_its_own_restarts, with_options};
use crate::error::Error;
use crate::output::Output;

/// How many tasks.
#[derive(Debug, Args)]
struct ModeArgs {
    /// How many tasks
    #[arg(long, value_name = "N", conflicts_with = "global")]
    replicas: Option<u32>,
    /// One task on every node that fits, instead of a number of them
    #[arg(long)]
    global: bool,
    /// Set a label of the deployment itself. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    deployment_label: Vec<(String, String)>,
    /// How many versions are kept; 10 unless given
    #[arg(long, value_name = "N")]
    kept_versions: Option<u32>,
    /// Do not follow the rollout
    #[arg(short, long)]
    detach: bool,
}

impl ModeArgs {
    fn set(self, spec: &mut v1::DeploymentSpec) {
        if self.global {
            spec.mode = Some(Mode::Global(v1::GlobalMode {}));
        } else if let Some(replicas) = self.replicas {
            spec.mode = Some(Mode::Replicated(v1::ReplicatedMode { replicas: Some(replicas) }));
        }
        spec.labels.extend(self.deployment_label);
        spec.kept_versions = self.kept_versions.or(spec.kept_versions);
    }
}

/// Arguments of `davit deployment create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The image and the command's words; with --process only the command's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND]")]
    words: Vec<String>,
    #[command(flatten)]
    mode: ModeArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    placement: PlacementArgs,
}

/// Arguments of `davit deployment update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The deployment, by name or id
    #[arg(value_name = "DEPLOYMENT")]
    deployment: String,
    /// Run this image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Run this command, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    mode: ModeArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    placement: PlacementArgs,
}

pub(super) async fn create(manager: &Manager, args: CreateArgs, output: &Output) -> Result<u8, Error> {
    let task = task_with_its_own_restarts(args.spec, args.placement, args.words, |key| std::env::var(key).ok())?;
    let mut spec = v1::DeploymentSpec { name: task.name.clone(), task: Some(task), ..Default::default() };
    let detach = args.mode.detach;
    args.mode.set(&mut spec);
    spec.update_policy = args.policy.over(None);
    let request_id = UuidV7Source.next_uuid().to_string();
    let request = v1::CreateDeploymentRequest { spec: Some(spec), request_id, validate_only: false, author: author() };
    let created = manager.repeat(async || manager.deployments().create_deployment(call(request.clone())).await).await?;
    follow_unless(detach, manager, created.deployment, output).await
}

pub(super) async fn update(manager: &Manager, args: UpdateArgs, output: &Output) -> Result<u8, Error> {
    let known = manager.get_deployment(&args.deployment).await?;
    let mut spec = known.spec.unwrap_or_default();
    let mut task =
        with_options(spec.task.unwrap_or_default(), args.spec, args.placement, |key| std::env::var(key).ok())?;
    run_other(&mut task, args.image, args.command)?;
    spec.task = Some(task);
    let detach = args.mode.detach;
    args.mode.set(&mut spec);
    spec.update_policy = args.policy.over(spec.update_policy);
    // What was read is what is changed, or nothing is.
    let request = v1::UpdateDeploymentRequest {
        deployment: known.deployment_id,
        spec: Some(spec),
        etag: known.etag,
        author: author(),
        ..Default::default()
    };
    let answer = manager.deployments().update_deployment(call(request)).await;
    let updated = answer.map_err(|status| manager.error(status))?.into_inner().deployment;
    follow_unless(detach, manager, updated, output).await
}

/// Another image or command.
fn run_other(task: &mut v1::TaskSpec, image: Option<String>, command: Vec<String>) -> Result<(), Error> {
    match &mut task.runtime {
        Some(v1::task_spec::Runtime::Container(container)) => {
            container.image = image.unwrap_or_else(|| std::mem::take(&mut container.image));
            if !command.is_empty() {
                container.command = command;
            }
        }
        Some(v1::task_spec::Runtime::Process(process)) => {
            if image.is_some() {
                return Err(Error::usage("--image is for containers, but this deployment runs plain processes"));
            }
            if !command.is_empty() {
                process.command = command;
            }
        }
        None => {}
    }
    Ok(())
}
