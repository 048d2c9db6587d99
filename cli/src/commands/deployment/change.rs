//! Creates and updates deployments.

use clap::Args;
use davit_proto::v1;
use davit_proto::v1::deployment_spec::Mode;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};

use super::follow_unless;
use super::policy::{PolicyArgs, RollbackPolicyArgs};
use crate::args::key_value;
use crate::client::{Manager, call};
use crate::commands::author;
use crate::commands::spec::{
    ChangeArgs, PlacementArgs, SpecArgs, remove_keys, task_with_its_own_restarts, with_options,
};
use crate::error::Error;
use crate::output::Output;

const RESTART: &str = "When a task runs again after it ended: never, on-failure, on-failure:MAX (at most MAX attempts in all), \
                       always; unless set always";
const NAME: &str = "Name of the deployment and of its tasks; made from the image or program unless set";
const NEW_NAME: &str = "Rename the tasks, which replaces them; the deployment keeps its name";

/// How many tasks.
#[derive(Debug, Args)]
struct ModeArgs {
    /// How many tasks
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Set a label of the deployment itself. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    deployment_label: Vec<(String, String)>,
    /// How many versions are kept; 10 unless set
    #[arg(long, value_name = "N")]
    kept_versions: Option<u32>,
    /// Do not follow the rollout
    #[arg(short, long)]
    detach: bool,
}

impl ModeArgs {
    fn set(self, spec: &mut v1::DeploymentSpec) {
        if let Some(replicas) = self.replicas {
            spec.mode = Some(Mode::Replicated(v1::ReplicatedMode { replicas: Some(replicas) }));
        }
        spec.labels.extend(self.deployment_label);
        spec.kept_versions = self.kept_versions.or(spec.kept_versions);
    }
}

/// Arguments of `davit deployment create`.
#[derive(Debug, Args)]
#[command(mut_arg("restart", |arg| arg.help(RESTART)), mut_arg("name", |arg| arg.help(NAME)))]
pub struct CreateArgs {
    /// The image and the command's words; with --process only the command's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND]")]
    words: Vec<String>,
    /// One task on every node that fits, instead of a number of them
    #[arg(long, conflicts_with = "replicas")]
    global: bool,
    #[command(flatten)]
    mode: ModeArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    rollback: RollbackPolicyArgs,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    placement: PlacementArgs,
}

/// Arguments of `davit deployment update`.
#[derive(Debug, Args)]
#[command(mut_arg("restart", |arg| arg.help(RESTART)), mut_arg("name", |arg| arg.help(NEW_NAME)))]
pub struct UpdateArgs {
    /// The deployment, by name or id
    #[arg(value_name = "DEPLOYMENT")]
    deployment: String,
    /// Remove a label of the deployment itself. May be repeated
    #[arg(long, value_name = "KEY")]
    deployment_label_rm: Vec<String>,
    #[command(flatten)]
    mode: ModeArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    rollback: RollbackPolicyArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    placement: PlacementArgs,
}

pub(super) async fn create(manager: &Manager, args: CreateArgs, output: &Output) -> Result<u8, Error> {
    let task = task_with_its_own_restarts(args.spec, args.placement, args.words, |key| std::env::var(key).ok())?;
    let mut spec = v1::DeploymentSpec { name: task.name.clone(), task: Some(task), ..Default::default() };
    if args.global {
        spec.mode = Some(Mode::Global(v1::GlobalMode {}));
    }
    let detach = args.mode.detach;
    args.mode.set(&mut spec);
    spec.update_policy = args.policy.over(None);
    spec.rollback_policy = args.rollback.over(None);
    let request_id = UuidV7Source.next_uuid().to_string();
    let request = v1::CreateDeploymentRequest { spec: Some(spec), request_id, validate_only: false, author: author() };
    let created = manager.repeat(async || manager.deployments().create_deployment(call(request.clone())).await).await?;
    follow_unless(detach, manager, created.deployment, output).await
}

pub(super) async fn update(manager: &Manager, args: UpdateArgs, output: &Output) -> Result<u8, Error> {
    let known = manager.get_deployment(&args.deployment).await?;
    let mut spec = known.spec.unwrap_or_default();
    remove_keys("--deployment-label-rm", &mut spec.labels, &args.deployment_label_rm)?;
    let task = args.change.over(spec.task.unwrap_or_default())?;
    spec.task = Some(with_options(task, args.spec, args.placement, |key| std::env::var(key).ok())?);
    let detach = args.mode.detach;
    args.mode.set(&mut spec);
    spec.update_policy = args.policy.over(spec.update_policy);
    spec.rollback_policy = args.rollback.over(spec.rollback_policy);
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
