//! Apps, for users: what Compose files would change, and that change.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::RolloutState;
use davit_core::file::{ConfigName, FileContent};
use davit_core::job::{Run, RunState};
use davit_core::spec::TaskSpec;
use davit_core::validate::Violations;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, Deadline};
use uuid::Uuid;

use super::Api;
use super::app_placement::place;
use super::app_source::{ReadApp, read_app};
use super::deployment_service::wanted;
use super::deployment_view::show;
use super::errors::{refusal, to_api_error};
use super::fields::check_author;
use super::files::resolve_files;
use super::job_service::wanted_job;
use super::paging::Page;
use crate::apps::{plan_token, planned};
use crate::commands::{self, NewConfig, WantedApp};
use crate::reconcile::trouble_of_job;
use crate::stable_hash::stable_hash;
use crate::state::{ClusterState, Draft};

/// What each config and secret holds that comes with an app.
type Contents = BTreeMap<ConfigName, FileContent>;

/// Of so many deployments of an app it is told what is wrong.
const MAX_TROUBLES: usize = 3;

/// Tells what would be done.
pub(super) async fn plan_app(
    api: &Api,
    request: v1::PlanAppRequest,
    deadline: Option<Deadline>,
) -> Result<v1::PlanAppResponse, ApiError> {
    let v1::PlanAppRequest { source, prune } = request;
    let planning_api = api.clone();
    let plan = move || {
        let (app, warnings) = read(&planning_api, source, prune, "", Violations::new())?;
        let (name, limits) = (app.app.clone(), planning_api.cluster.limits);
        let mut trial = planning_api.trial();
        let revision = trial.state().revision().0;
        let plan = commands::plan_app(trial.state(), app.clone(), limits).map_err(|error| refusal(&error))?;
        let token = plan_token(&name, &plan);
        // No two of them have the same id, and none that is there has one of these.
        let mut ids = (0..).map(|number: u64| Uuid::from_u64_pair(u64::MAX, u64::MAX - number));
        let changes = commands::apply_app(&mut trial, app, &mut ids, limits).map_err(|error| refusal(&error))?;
        let (deployments, jobs) = planned(&name, &changes);
        let response = v1::PlanAppResponse {
            app: name,
            deployments,
            jobs,
            plan_token: token,
            warnings,
            placement_problem: String::new(),
            revision,
        };
        Ok::<_, ApiError>((response, trial, changes))
    };
    let (mut response, trial, changes) = apart(plan).await??;
    response.placement_problem = place(api, trial, &changes, &mut response, deadline).await;
    Ok(response)
}

/// Does it.
pub(super) async fn apply_app(api: &Api, request: v1::ApplyAppRequest) -> Result<v1::ApplyAppResponse, ApiError> {
    let v1::ApplyAppRequest { source, prune, plan_token, author } = request;
    let mut violations = Violations::new();
    check_author(&author, &mut violations);
    let reading_api = api.clone();
    let read = move || read(&reading_api, source, prune, &author, violations);
    let (app, warnings) = apart(read).await??;
    let app = WantedApp { plan_token, ..app };
    let (name, limits) = (app.app.clone(), api.cluster.limits);
    let ids = Arc::clone(&api.world.ids);
    let command = move |draft: &mut Draft| {
        let mut ids = std::iter::repeat_with(|| ids.next_uuid());
        let changes = commands::apply_app(draft, app, &mut ids, limits)?;
        Ok((changes, draft.state().revision().0))
    };
    let (changes, revision) = api.writer.write(command).await.map_err(to_api_error)?;
    let (deployments, jobs) = planned(&name, &changes);
    Ok(v1::ApplyAppResponse { app: name, deployments, jobs, warnings, revision })
}

/// Reading files and comparing specs takes longer than the threads that serve connections should be held up.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|problem| ApiError::internal(format!("reading the app broke: {problem}")))
}

fn read(
    api: &Api,
    source: Option<v1::AppSource>,
    prune: Option<bool>,
    author: &str,
    mut violations: Violations,
) -> Result<(WantedApp, Vec<String>), ApiError> {
    let state = api.writer.state();
    let check = |configs: &Contents, spec: &mut Arc<TaskSpec>, violations: &mut Violations| {
        api.check_algorithm(spec, "task", violations);
        if !spec.files().is_empty() {
            let coming = configs.iter().map(|(name, content)| (name.clone(), content.digest())).collect();
            resolve_files(&state, &coming, Arc::make_mut(spec), "task.", violations);
        }
    };
    let read = read_app(source, |volume| state.volume(volume).is_some(), check, &mut violations);
    let ReadApp { mapped, warnings } = violations.finish(read)?;
    let deployments = mapped.deployments.into_iter();
    let config = |(name, content): (ConfigName, FileContent)| {
        let app = mapped.app.clone();
        (name.clone(), NewConfig { name, content, labels: BTreeMap::new(), app })
    };
    let app = WantedApp {
        configs: mapped.configs.into_iter().map(config).collect(),
        app: mapped.app,
        deployments: deployments.map(|(name, spec)| (name, wanted(spec, author.to_owned()))).collect(),
        jobs: mapped.jobs.into_iter().map(|(name, spec)| (name, wanted_job(spec))).collect(),
        unselected: mapped.unselected,
        prune: prune.unwrap_or(true),
        plan_token: String::new(),
    };
    Ok((app, warnings))
}

/// Lists apps.
pub(super) fn list_apps(api: &Api, request: &v1::ListAppsRequest) -> Result<v1::ListAppsResponse, ApiError> {
    let mut violations = Violations::new();
    let hash = stable_hash("ListApps", &());
    let page = Page::from_proto(request.page_size, &request.page_token, hash, &mut violations);
    let after = Page::after_name(page.as_ref(), &mut violations);
    let page = violations.finish(page)?;
    let state = api.writer.state();
    let (found, next_page_token) = page.take(state.apps_after(&after), |name| name.as_bytes().to_vec());
    let apps = found.into_iter().map(|name| app_to_proto(&state, name)).collect();
    Ok(v1::ListAppsResponse { apps, next_page_token, revision: state.revision().0 })
}

fn app_to_proto(state: &ClusterState, name: &str) -> v1::App {
    let mut app = v1::App { name: name.to_owned(), ..Default::default() };
    let mut worst = RolloutState::Complete;
    let mut troubles = Vec::new();
    for deployment in state.deployments_of_app(name) {
        let shown = show(state, deployment, true);
        let counts = shown.counts.unwrap_or_default();
        app.desired_tasks = app.desired_tasks.saturating_add(counts.desired);
        app.ready_tasks = app.ready_tasks.saturating_add(counts.ready);
        app.completed_tasks = app.completed_tasks.saturating_add(counts.completed);
        app.deleting |= deployment.is_deleted;
        worst = std::cmp::max_by_key(worst, deployment.rollout.state, |state| need(*state));
        if !shown.trouble.is_empty() {
            troubles.push(format!("{}: {}", deployment.name, shown.trouble));
        }
        app.deployments.push(deployment.name.clone());
    }
    for job in state.jobs_of_app(name) {
        app.deleting |= job.is_deleted;
        let trouble = trouble_of_job(job);
        if !trouble.is_empty() {
            troubles.push(format!("{}: {trouble}", job.name));
        }
        let has_failed = |run: &Run| matches!(run.state, RunState::Failing | RunState::Failed);
        if job.waits_in_vain || job.runs.last().is_some_and(has_failed) {
            worst = std::cmp::max_by_key(worst, RolloutState::Failed, |state| need(*state));
        } else if job.spec.schedule.is_none() && job.active_runs().next().is_some() {
            worst = std::cmp::max_by_key(worst, RolloutState::InProgress, |state| need(*state));
        }
        app.jobs.push(job.name.clone());
    }
    let more = troubles.len().saturating_sub(MAX_TROUBLES);
    troubles.truncate(MAX_TROUBLES);
    app.trouble = troubles.join("; ");
    if more > 0 {
        app.trouble.push_str(&format!("; and {more} more"));
    }
    app.set_state(convert::rollout_state_to_proto(worst));
    app
}

/// How much a rollout needs to be looked at.
fn need(state: RolloutState) -> u8 {
    match state {
        RolloutState::Complete => 0,
        RolloutState::InProgress => 1,
        RolloutState::AwaitingPromotion => 2,
        RolloutState::Paused => 3,
        RolloutState::Failed => 4,
    }
}

/// Has an app end.
pub(super) async fn delete_app(api: &Api, request: v1::DeleteAppRequest) -> Result<v1::DeleteAppResponse, ApiError> {
    let app = request.app;
    if app.is_empty() {
        return Err(ApiError::invalid_field("app", "is needed"));
    }
    let delete = move |draft: &mut Draft| commands::delete_app(draft, &app);
    let deleted = api.writer.write(delete).await.map_err(to_api_error)?;
    let commands::DeletedApp { deployments, jobs, revision } = deleted;
    Ok(v1::DeleteAppResponse { deployments, jobs, revision: revision.0 })
}
