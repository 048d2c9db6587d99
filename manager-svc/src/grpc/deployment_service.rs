//! Deployments, for users.

use std::sync::Arc;

use davit_core::deployment::{CreateRequest, Deployment, DeploymentSpec, MAX_REPLICAS};
use davit_core::id::DeploymentId;
use davit_core::validate::Violations;
use davit_proto::v1::deployment_service_server::DeploymentService;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, Deadline};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::app_calls::{apply_app, delete_app, list_apps, plan_app};
use super::deployment_view::show;
use super::errors::{refusal, to_api_error};
use super::fields::{check_author, check_request_id, keep_name};
use super::paging::Page;
use super::rollout_watch::RolloutWatch;
use super::{Api, Responses};
use crate::commands::{self, Named, NewDeployment, Wanted};
use crate::stable_hash::stable_hash;
use crate::state::{Draft, KeyedSpec};

/// Serves deployments.
#[derive(Debug, Clone)]
pub struct DeploymentApi {
    api: Api,
}

impl DeploymentApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn create(&self, mut request: v1::CreateDeploymentRequest) -> Result<v1::Deployment, ApiError> {
        let request_id = std::mem::take(&mut request.request_id);
        let validate_only = std::mem::take(&mut request.validate_only);
        let author = std::mem::take(&mut request.author);
        let fingerprint = stable_hash("CreateDeployment", &request);
        let mut violations = Violations::new();
        check_request_id(&request_id, &mut violations);
        check_author(&author, &mut violations);
        let spec = convert::required(request.spec, "spec", &mut violations)
            .and_then(|spec| self.read_spec(spec, &mut violations));
        let (name, spec) = violations.finish(spec)?;
        let request = CreateRequest::given(request_id, fingerprint);
        let new = |deployment_id| NewDeployment { deployment_id, name, wanted: wanted(spec, author), request };
        let limits = self.api.cluster.limits;
        if validate_only {
            let mut trial = self.api.trial();
            let created = commands::create_deployment(&mut trial, new(DeploymentId(Uuid::max())), limits);
            let shown = show(trial.state(), &*created.map_err(|error| refusal(&error))?, false);
            return Ok(v1::Deployment { deployment_id: String::new(), revision: 0, etag: String::new(), ..shown });
        }
        let new = new(DeploymentId(self.api.world.ids.next_uuid()));
        self.write(move |draft| commands::create_deployment(draft, new, limits)).await
    }

    async fn update(&self, request: v1::UpdateDeploymentRequest) -> Result<v1::Deployment, ApiError> {
        let v1::UpdateDeploymentRequest { deployment, spec, etag, validate_only, author } = request;
        let mut violations = Violations::new();
        check_author(&author, &mut violations);
        let named = read_named(deployment, etag, &mut violations);
        let name_now = self.api.writer.state().find_deployment(&named.deployment).map(|known| known.name.clone());
        if name_now.is_none() && !named.deployment.is_empty() {
            return Err(no_deployment(&named.deployment));
        }
        let name_now = name_now.unwrap_or_default();
        let spec = convert::required(spec, "spec", &mut violations).and_then(|mut spec| {
            keep_name(&mut spec.name, &name_now, &mut violations);
            self.read_spec(spec, &mut violations)
        });
        let (_, spec) = violations.finish(spec)?;
        let (wanted, limits) = (wanted(spec, author), self.api.cluster.limits);
        if validate_only {
            let mut trial = self.api.trial();
            let updated = commands::update_deployment(&mut trial, &named, wanted, limits);
            let shown = show(trial.state(), &*updated.map_err(|error| refusal(&error))?, false);
            return Ok(v1::Deployment { revision: 0, etag: String::new(), ..shown });
        }
        self.write(move |draft| commands::update_deployment(draft, &named, wanted, limits)).await
    }

    fn read_spec(&self, spec: v1::DeploymentSpec, violations: &mut Violations) -> Option<(String, DeploymentSpec)> {
        let mut read = convert::deployment_spec_from_proto(spec, "spec", violations);
        if let Some((_, spec)) = &mut read {
            self.api.check_spec(Arc::make_mut(&mut spec.task), "spec.task", violations);
        }
        read
    }

    fn list(&self, request: v1::ListDeploymentsRequest) -> Result<v1::ListDeploymentsResponse, ApiError> {
        let mut violations = Violations::new();
        let filter = request.filter.unwrap_or_default();
        let hash = stable_hash("ListDeployments", &filter);
        let page = Page::from_proto(request.page_size, &request.page_token, hash, &mut violations);
        let after = Page::after_name(page.as_ref(), &mut violations);
        let states = convert::rollout_states_from_proto(&filter.states, "filter.states", &mut violations);
        let labels = convert::labels_from_proto(filter.labels, convert::MAX_LABELS, "filter.labels", &mut violations);
        let (page, labels) = violations.finish(page.zip(labels))?;

        let state = self.api.writer.state();
        let matches = |deployment: &&Arc<Deployment>| {
            let own = deployment.current().map(|version| &version.spec.labels);
            let has = |(key, value): (&String, &String)| own.and_then(|own| own.get(key)) == Some(value);
            let app = deployment.current().map_or("", |version| version.spec.app.as_str());
            (filter.app.is_empty() || filter.app == app)
                && (states.is_empty() || states.contains(&deployment.rollout.state))
                && labels.iter().all(has)
        };
        let rest = state.deployments_after(&after).filter(matches);
        let (found, next_page_token) = page.take(rest, |deployment| deployment.name.clone().into_bytes());
        let deployments = found.into_iter().map(|deployment| show(&state, deployment, true)).collect();
        Ok(v1::ListDeploymentsResponse { deployments, next_page_token, revision: state.revision().0 })
    }

    /// Runs a command on a deployment that the caller names.
    async fn change(
        &self,
        (deployment, etag): (String, String),
        mut violations: Violations,
        command: impl FnOnce(&mut Draft, &Named) -> Result<Arc<Deployment>, commands::Error> + Send + 'static,
    ) -> Result<v1::Deployment, ApiError> {
        let named = read_named(deployment, etag, &mut violations);
        violations.finish(Some(()))?;
        self.write(move |draft| command(draft, &named)).await
    }

    async fn write(
        &self,
        command: impl FnOnce(&mut Draft) -> Result<Arc<Deployment>, commands::Error> + Send + 'static,
    ) -> Result<v1::Deployment, ApiError> {
        let changed = self.api.writer.write(command).await.map_err(to_api_error)?;
        Ok(show(&self.api.writer.state(), &changed, false))
    }
}

pub(super) fn wanted(spec: DeploymentSpec, author: String) -> Wanted {
    let task = KeyedSpec::new(Arc::clone(&spec.task));
    Wanted { spec, task, author }
}

fn read_named(deployment: String, etag: String, violations: &mut Violations) -> Named {
    if deployment.is_empty() {
        violations.add("deployment", "is needed: an id or a name");
    }
    Named { deployment, etag }
}

/// No such deployment.
pub(super) fn no_deployment(id_or_name: &str) -> ApiError {
    // It comes from outside and may be of any length.
    refusal(&commands::Error::DeploymentNotFound { deployment: id_or_name.chars().take(64).collect() })
}

#[tonic::async_trait]
impl DeploymentService for DeploymentApi {
    type WatchRolloutStream = Responses<v1::WatchRolloutResponse>;

    async fn create_deployment(
        &self,
        request: Request<v1::CreateDeploymentRequest>,
    ) -> Result<Response<v1::CreateDeploymentResponse>, Status> {
        let deployment = Some(self.create(request.into_inner()).await?);
        Ok(Response::new(v1::CreateDeploymentResponse { deployment }))
    }

    async fn get_deployment(
        &self,
        request: Request<v1::GetDeploymentRequest>,
    ) -> Result<Response<v1::GetDeploymentResponse>, Status> {
        let mut violations = Violations::new();
        let Named { deployment, .. } = read_named(request.into_inner().deployment, String::new(), &mut violations);
        violations.finish(Some(())).map_err(ApiError::from)?;
        let state = self.api.writer.state();
        let known = state.find_deployment(&deployment).ok_or_else(|| no_deployment(&deployment))?;
        let deployment = Some(show(&state, known, false));
        Ok(Response::new(v1::GetDeploymentResponse { deployment }))
    }

    async fn list_deployments(
        &self,
        request: Request<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner())?))
    }

    async fn update_deployment(
        &self,
        request: Request<v1::UpdateDeploymentRequest>,
    ) -> Result<Response<v1::UpdateDeploymentResponse>, Status> {
        let deployment = Some(self.update(request.into_inner()).await?);
        Ok(Response::new(v1::UpdateDeploymentResponse { deployment }))
    }

    async fn scale_deployment(
        &self,
        request: Request<v1::ScaleDeploymentRequest>,
    ) -> Result<Response<v1::ScaleDeploymentResponse>, Status> {
        let v1::ScaleDeploymentRequest { deployment, replicas, etag, author } = request.into_inner();
        let mut violations = Violations::new();
        check_author(&author, &mut violations);
        if replicas > MAX_REPLICAS {
            violations.add("replicas", format!("is at most {MAX_REPLICAS}, this is {replicas}"));
        }
        let limits = self.api.cluster.limits;
        let scale =
            move |draft: &mut Draft, named: &Named| commands::scale_deployment(draft, named, replicas, author, limits);
        let deployment = Some(self.change((deployment, etag), violations, scale).await?);
        Ok(Response::new(v1::ScaleDeploymentResponse { deployment }))
    }

    async fn rollback_deployment(
        &self,
        request: Request<v1::RollbackDeploymentRequest>,
    ) -> Result<Response<v1::RollbackDeploymentResponse>, Status> {
        let v1::RollbackDeploymentRequest { deployment, version, etag, author } = request.into_inner();
        let mut violations = Violations::new();
        check_author(&author, &mut violations);
        let version = Some(version).filter(|version| *version > 0);
        let roll_back =
            move |draft: &mut Draft, named: &Named| commands::roll_back_deployment(draft, named, version, author);
        let deployment = Some(self.change((deployment, etag), violations, roll_back).await?);
        Ok(Response::new(v1::RollbackDeploymentResponse { deployment }))
    }

    async fn promote_rollout(
        &self,
        request: Request<v1::PromoteRolloutRequest>,
    ) -> Result<Response<v1::PromoteRolloutResponse>, Status> {
        let v1::PromoteRolloutRequest { deployment, etag } = request.into_inner();
        let deployment = Some(self.change((deployment, etag), Violations::new(), commands::promote_rollout).await?);
        Ok(Response::new(v1::PromoteRolloutResponse { deployment }))
    }

    async fn pause_rollout(
        &self,
        request: Request<v1::PauseRolloutRequest>,
    ) -> Result<Response<v1::PauseRolloutResponse>, Status> {
        let deployment = request.into_inner().deployment;
        let deployment =
            Some(self.change((deployment, String::new()), Violations::new(), commands::pause_rollout).await?);
        Ok(Response::new(v1::PauseRolloutResponse { deployment }))
    }

    async fn resume_rollout(
        &self,
        request: Request<v1::ResumeRolloutRequest>,
    ) -> Result<Response<v1::ResumeRolloutResponse>, Status> {
        let v1::ResumeRolloutRequest { deployment, etag } = request.into_inner();
        let deployment = Some(self.change((deployment, etag), Violations::new(), commands::resume_rollout).await?);
        Ok(Response::new(v1::ResumeRolloutResponse { deployment }))
    }

    async fn delete_deployment(
        &self,
        request: Request<v1::DeleteDeploymentRequest>,
    ) -> Result<Response<v1::DeleteDeploymentResponse>, Status> {
        let v1::DeleteDeploymentRequest { deployment, etag } = request.into_inner();
        let mut violations = Violations::new();
        let named = read_named(deployment, etag, &mut violations);
        violations.finish(Some(())).map_err(ApiError::from)?;
        let delete = move |draft: &mut Draft| commands::delete_deployment(draft, &named);
        let revision = self.api.writer.write(delete).await.map_err(to_api_error)?.0;
        Ok(Response::new(v1::DeleteDeploymentResponse { revision }))
    }

    async fn watch_rollout(
        &self,
        request: Request<v1::WatchRolloutRequest>,
    ) -> Result<Response<Self::WatchRolloutStream>, Status> {
        let watch = RolloutWatch::begin(&self.api, &request.into_inner())?;
        Ok(Response::new(Box::pin(watch.into_stream())))
    }

    async fn plan_app(&self, request: Request<v1::PlanAppRequest>) -> Result<Response<v1::PlanAppResponse>, Status> {
        let deadline = Deadline::of(&request);
        Ok(Response::new(plan_app(&self.api, request.into_inner(), deadline).await?))
    }

    async fn apply_app(&self, request: Request<v1::ApplyAppRequest>) -> Result<Response<v1::ApplyAppResponse>, Status> {
        Ok(Response::new(apply_app(&self.api, request.into_inner()).await?))
    }

    async fn list_apps(&self, request: Request<v1::ListAppsRequest>) -> Result<Response<v1::ListAppsResponse>, Status> {
        Ok(Response::new(list_apps(&self.api, request.get_ref())?))
    }

    async fn delete_app(
        &self,
        request: Request<v1::DeleteAppRequest>,
    ) -> Result<Response<v1::DeleteAppResponse>, Status> {
        Ok(Response::new(delete_app(&self.api, request.into_inner()).await?))
    }
}
