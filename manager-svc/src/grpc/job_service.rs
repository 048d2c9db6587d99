//! Jobs, for users.

use std::sync::Arc;

use davit_core::deployment::CreateRequest;
use davit_core::id::JobId;
use davit_core::job::{Job, JobSpec, Run};
use davit_core::validate::Violations;
use davit_proto::v1::job_service_server::JobService;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::ApiError;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use super::errors::{refusal, to_api_error};
use super::fields::{check_request_id, keep_name};
use super::paging::Page;
use crate::commands::{self, JobError, NamedJob, NewJob, WantedJob};
use crate::reconcile::trouble_of_job;
use crate::stable_hash::stable_hash;
use crate::state::{Draft, KeyedSpec};

/// Serves jobs.
#[derive(Debug, Clone)]
pub struct JobApi {
    api: Api,
}

impl JobApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn create(&self, mut request: v1::CreateJobRequest) -> Result<v1::Job, ApiError> {
        let request_id = std::mem::take(&mut request.request_id);
        let validate_only = std::mem::take(&mut request.validate_only);
        let fingerprint = stable_hash("CreateJob", &request);
        let mut violations = Violations::new();
        check_request_id(&request_id, &mut violations);
        let spec = convert::required(request.spec, "spec", &mut violations)
            .and_then(|spec| self.read_spec(spec, &mut violations));
        let (name, spec) = violations.finish(spec)?;
        let request = CreateRequest::given(request_id, fingerprint);
        let new = |job_id| NewJob { job_id, name, wanted: wanted_job(spec), request };
        let limits = self.api.cluster.limits;
        if validate_only {
            let created = commands::create_job(&mut self.api.trial(), new(JobId(Uuid::max())), limits);
            let shown = show(&*created.map_err(|error| refusal(&error))?);
            return Ok(v1::Job { job_id: String::new(), revision: 0, etag: String::new(), ..shown });
        }
        let new = new(JobId(self.api.world.ids.next_uuid()));
        self.write(move |draft| commands::create_job(draft, new, limits)).await
    }

    async fn update(&self, request: v1::UpdateJobRequest) -> Result<v1::Job, ApiError> {
        let v1::UpdateJobRequest { job, spec, etag, validate_only } = request;
        let mut violations = Violations::new();
        let named = read_named(job, etag, &mut violations);
        let name_now = self.api.writer.state().find_job(&named.job).map(|known| known.name.clone());
        if name_now.is_none() && !named.job.is_empty() {
            return Err(no_job(&named.job));
        }
        let name_now = name_now.unwrap_or_default();
        let spec = convert::required(spec, "spec", &mut violations).and_then(|mut spec| {
            keep_name(&mut spec.name, &name_now, &mut violations);
            self.read_spec(spec, &mut violations)
        });
        let (_, spec) = violations.finish(spec)?;
        let (wanted, limits) = (wanted_job(spec), self.api.cluster.limits);
        if validate_only {
            let updated = commands::update_job(&mut self.api.trial(), &named, wanted, limits);
            let shown = show(&*updated.map_err(|error| refusal(&error))?);
            return Ok(v1::Job { revision: 0, etag: String::new(), ..shown });
        }
        self.write(move |draft| commands::update_job(draft, &named, wanted, limits)).await
    }

    fn read_spec(&self, spec: v1::JobSpec, violations: &mut Violations) -> Option<(String, JobSpec)> {
        let mut read = convert::job_spec_from_proto(spec, "spec", violations);
        if let Some((_, spec)) = &mut read {
            self.api.check_spec(Arc::make_mut(&mut spec.task), "spec.task", violations);
        }
        read
    }

    fn list(&self, request: v1::ListJobsRequest) -> Result<v1::ListJobsResponse, ApiError> {
        let mut violations = Violations::new();
        let filter = request.filter.unwrap_or_default();
        let hash = stable_hash("ListJobs", &filter);
        let page = Page::from_proto(request.page_size, &request.page_token, hash, &mut violations);
        let after = Page::after_name(page.as_ref(), &mut violations);
        let labels = convert::labels_from_proto(filter.labels, convert::MAX_LABELS, "filter.labels", &mut violations);
        let (page, labels) = violations.finish(page.zip(labels))?;

        let state = self.api.writer.state();
        let matches = |job: &&Arc<Job>| {
            (filter.app.is_empty() || filter.app == job.spec.app)
                && labels.iter().all(|(key, value)| job.spec.labels.get(key) == Some(value))
        };
        let (found, next_page_token) =
            page.take(state.jobs_after(&after).filter(matches), |job| job.name.clone().into_bytes());
        let jobs = found.into_iter().map(|job| convert::job_to_proto(job, told_of(job), trouble_of_job(job))).collect();
        Ok(v1::ListJobsResponse { jobs, next_page_token, revision: state.revision().0 })
    }

    async fn pause(&self, job: String, paused: bool) -> Result<v1::Job, ApiError> {
        let mut violations = Violations::new();
        let named = read_named(job, String::new(), &mut violations);
        violations.finish(Some(()))?;
        self.write(move |draft| commands::pause_job(draft, &named, paused)).await
    }

    async fn write(
        &self,
        command: impl FnOnce(&mut Draft) -> Result<Arc<Job>, commands::Error> + Send + 'static,
    ) -> Result<v1::Job, ApiError> {
        Ok(show(&*self.api.writer.write(command).await.map_err(to_api_error)?))
    }
}

/// The newest run of a job and those that go on, oldest first: what is told where there are many jobs.
pub(super) fn told_of(job: &Job) -> impl Iterator<Item = &Run> {
    let newest = job.last_run;
    job.runs.iter().filter(move |run| run.number == newest || !run.state.has_ended())
}

fn show(job: &Job) -> v1::Job {
    convert::job_to_proto(job, &job.runs, trouble_of_job(job))
}

pub(super) fn wanted_job(spec: JobSpec) -> WantedJob {
    let task = KeyedSpec::new(Arc::clone(&spec.task));
    WantedJob { spec, task }
}

fn read_named(job: String, etag: String, violations: &mut Violations) -> NamedJob {
    if job.is_empty() {
        violations.add("job", "is needed: an id or a name");
    }
    NamedJob { job, etag }
}

/// No such job.
pub(super) fn no_job(id_or_name: &str) -> ApiError {
    // It comes from outside and may be of any length.
    refusal(&JobError::NotFound { job: id_or_name.chars().take(64).collect() }.into())
}

#[tonic::async_trait]
impl JobService for JobApi {
    async fn create_job(
        &self,
        request: Request<v1::CreateJobRequest>,
    ) -> Result<Response<v1::CreateJobResponse>, Status> {
        let job = Some(self.create(request.into_inner()).await?);
        Ok(Response::new(v1::CreateJobResponse { job }))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::GetJobResponse>, Status> {
        let mut violations = Violations::new();
        let NamedJob { job, .. } = read_named(request.into_inner().job, String::new(), &mut violations);
        violations.finish(Some(())).map_err(ApiError::from)?;
        let state = self.api.writer.state();
        let known = state.find_job(&job).ok_or_else(|| no_job(&job))?;
        Ok(Response::new(v1::GetJobResponse { job: Some(show(known)) }))
    }

    async fn list_jobs(&self, request: Request<v1::ListJobsRequest>) -> Result<Response<v1::ListJobsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner())?))
    }

    async fn update_job(
        &self,
        request: Request<v1::UpdateJobRequest>,
    ) -> Result<Response<v1::UpdateJobResponse>, Status> {
        let job = Some(self.update(request.into_inner()).await?);
        Ok(Response::new(v1::UpdateJobResponse { job }))
    }

    async fn run_job(&self, request: Request<v1::RunJobRequest>) -> Result<Response<v1::RunJobResponse>, Status> {
        let v1::RunJobRequest { job, request_id } = request.into_inner();
        let mut violations = Violations::new();
        check_request_id(&request_id, &mut violations);
        let named = read_named(job, String::new(), &mut violations);
        violations.finish(Some(())).map_err(ApiError::from)?;
        let begin = move |draft: &mut Draft| commands::run_job(draft, &named, &request_id);
        let (job, run) = self.api.writer.write(begin).await.map_err(to_api_error)?;
        Ok(Response::new(v1::RunJobResponse { job: Some(show(&job)), run }))
    }

    async fn pause_job(&self, request: Request<v1::PauseJobRequest>) -> Result<Response<v1::PauseJobResponse>, Status> {
        let job = Some(self.pause(request.into_inner().job, true).await?);
        Ok(Response::new(v1::PauseJobResponse { job }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let job = Some(self.pause(request.into_inner().job, false).await?);
        Ok(Response::new(v1::ResumeJobResponse { job }))
    }

    async fn stop_job_run(
        &self,
        request: Request<v1::StopJobRunRequest>,
    ) -> Result<Response<v1::StopJobRunResponse>, Status> {
        let v1::StopJobRunRequest { job, run } = request.into_inner();
        let mut violations = Violations::new();
        let named = read_named(job, String::new(), &mut violations);
        violations.finish(Some(())).map_err(ApiError::from)?;
        let run = Some(run).filter(|run| *run > 0);
        let job = Some(self.write(move |draft| commands::stop_job_run(draft, &named, run)).await?);
        Ok(Response::new(v1::StopJobRunResponse { job }))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let v1::DeleteJobRequest { job, etag } = request.into_inner();
        let mut violations = Violations::new();
        let named = read_named(job, etag, &mut violations);
        violations.finish(Some(())).map_err(ApiError::from)?;
        let delete = move |draft: &mut Draft| commands::delete_job(draft, &named);
        let revision = self.api.writer.write(delete).await.map_err(to_api_error)?.0;
        Ok(Response::new(v1::DeleteJobResponse { revision }))
    }
}
