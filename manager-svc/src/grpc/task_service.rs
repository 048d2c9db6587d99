//! Tasks, for users.

use std::collections::HashMap;
use std::sync::Arc;

use davit_core::id::{GangId, TaskId};
use davit_core::spec::TaskSpec;
use davit_core::task::Task;
use davit_core::validate::Violations;
use davit_proto::v1::task_service_server::TaskService;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::{ApiError, Deadline, ErrorKind};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::errors::{no_task, refusal, to_api_error};
use super::fields::check_request_id;
use super::paging::Page;
use super::task_filter::TaskFilter;
use super::task_logs::TaskLogs;
use super::{Api, Responses, explain, rebalance};
use crate::commands::{self, NewTasks};
use crate::stable_hash::stable_hash;
use crate::state::{Draft, KeyedSpec};

/// Serves tasks.
#[derive(Debug, Clone)]
pub struct TaskApi {
    api: Api,
}

impl TaskApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn create(&self, mut request: v1::CreateTaskRequest) -> Result<v1::Task, ApiError> {
        let request_id = std::mem::take(&mut request.request_id);
        let validate_only = std::mem::take(&mut request.validate_only);
        let fingerprint = stable_hash("CreateTask", &request);
        let mut violations = Violations::new();
        check_request_id(&request_id, &mut violations);
        let mut spec = convert::required(request.spec, "spec", &mut violations)
            .and_then(|spec| convert::task_spec_from_proto(spec, "spec", &mut violations));
        if let Some(spec) = &mut spec {
            self.api.check_spec(spec, "spec", &mut violations);
        }
        let spec = KeyedSpec::new(Arc::new(violations.finish(spec)?));
        if validate_only {
            return self.try_create(spec);
        }
        let groups = [NewTasks { spec, task_ids: vec![self.api.world.ids.task_id()], gang_id: None }];
        let request = Some((request_id.clone(), fingerprint)).filter(|(request_id, _)| !request_id.is_empty());
        let limits = self.api.cluster.limits;
        let command = move |draft: &mut Draft| {
            let creation = commands::create_tasks(draft, &groups, request, limits)?;
            // A repeated call answers the task as it is now.
            Ok(creation.task_ids.first().and_then(|task_id| draft.state().task(*task_id).cloned()))
        };
        let task = self.api.writer.write(command).await.map_err(to_api_error)?;
        let task = task.ok_or_else(|| {
            let message = format!("the task that request id `{request_id}` created was deleted since");
            ApiError::new(ErrorKind::NotFound, "TASK_NOT_FOUND", message).with_resource("request_id", request_id)
        })?;
        Ok(convert::task_to_proto(&task))
    }

    /// The task as it would be created.
    fn try_create(&self, spec: KeyedSpec) -> Result<v1::Task, ApiError> {
        let mut trial = self.api.trial();
        let task_id = TaskId(Uuid::max());
        let groups = [NewTasks { spec, task_ids: vec![task_id], gang_id: None }];
        commands::create_tasks(&mut trial, &groups, None, self.api.cluster.limits).map_err(|error| refusal(&error))?;
        let task = trial.state().task(task_id).ok_or_else(|| no_task(task_id))?;
        let shown = convert::task_to_proto(task);
        Ok(v1::Task { task_id: String::new(), revision: 0, etag: String::new(), ..shown })
    }

    async fn create_batch(
        &self,
        mut request: v1::BatchCreateTasksRequest,
    ) -> Result<v1::BatchCreateTasksResponse, ApiError> {
        let request_id = std::mem::take(&mut request.request_id);
        let validate_only = std::mem::take(&mut request.validate_only);
        let fingerprint = stable_hash("BatchCreateTasks", &request);
        let mut violations = Violations::new();
        check_request_id(&request_id, &mut violations);
        let mut groups = convert::task_groups_from_proto(request.groups, "groups", &mut violations);
        for (index, group) in groups.iter_mut().flatten().enumerate() {
            let path = format!("groups[{index}].spec");
            self.api.check_spec(&mut group.spec, &path, &mut violations);
        }
        let groups = violations.finish(groups)?;
        if validate_only {
            let revision = self.api.writer.state().revision().0;
            return Ok(v1::BatchCreateTasksResponse { task_ids: Vec::new(), revision });
        }
        let groups = self.new_tasks(groups);
        let request = Some((request_id, fingerprint)).filter(|(request_id, _)| !request_id.is_empty());
        let limits = self.api.cluster.limits;
        let command = move |draft: &mut Draft| commands::create_tasks(draft, &groups, request, limits);
        let creation = self.api.writer.write(command).await.map_err(to_api_error)?;
        let task_ids = creation.task_ids.iter().map(ToString::to_string).collect();
        Ok(v1::BatchCreateTasksResponse { task_ids, revision: creation.revision.0 })
    }

    /// Gives ids. Groups of equal specs share one.
    fn new_tasks(&self, groups: Vec<convert::TaskGroup>) -> Vec<NewTasks> {
        let mut specs = HashMap::new();
        let mut shared = |spec: TaskSpec| {
            let spec = KeyedSpec::new(Arc::new(spec));
            specs.entry(spec.key()).or_insert(spec).clone()
        };
        groups
            .into_iter()
            .map(|group| NewTasks {
                spec: shared(group.spec),
                task_ids: (0..group.count).map(|_| self.api.world.ids.task_id()).collect(),
                gang_id: group.all_or_nothing.then(|| GangId(self.api.world.ids.next_uuid())),
            })
            .collect()
    }

    async fn list(&self, request: v1::ListTasksRequest) -> Result<v1::ListTasksResponse, ApiError> {
        let mut violations = Violations::new();
        let filter = request.filter.unwrap_or_default();
        let hash = stable_hash("ListTasks", &filter);
        let page = Page::from_proto(request.page_size, &request.page_token, hash, &mut violations);
        let mut after = None;
        if let Some(page) = page.as_ref().filter(|page| !page.cursor.is_empty()) {
            after = Uuid::from_slice(&page.cursor).ok().map(TaskId);
            if after.is_none() {
                Page::bad_cursor(&mut violations);
            }
        }
        let filter = TaskFilter::from_proto(filter, &mut violations);
        let (page, filter) = violations.finish(page.zip(filter))?;

        let state = self.api.writer.state();
        let candidates = filter.candidates(&state, after)?;
        let cursor = |task: &&Arc<Task>| task.task_id.0.as_bytes().to_vec();
        let (tasks, next_page_token) = page.take_matching(candidates, |task| filter.matches(task), cursor).await;
        let tasks = tasks.into_iter().map(|task| convert::task_to_proto(task)).collect();
        Ok(v1::ListTasksResponse { tasks, next_page_token, revision: state.revision().0 })
    }

    /// Runs a command on one task.
    async fn change<T: Send + 'static>(
        &self,
        task_id: &str,
        command: impl FnOnce(&mut Draft, TaskId) -> Result<T, commands::Error> + Send + 'static,
    ) -> Result<T, ApiError> {
        let task_id = read_task_id(task_id)?;
        self.api.writer.write(move |draft| command(draft, task_id)).await.map_err(to_api_error)
    }
}

fn read_task_id(text: &str) -> Result<TaskId, ApiError> {
    let mut violations = Violations::new();
    let task_id = convert::parse_task_id(text, "task_id", &mut violations);
    Ok(violations.finish(task_id)?)
}

fn shown(task: &Task) -> Option<v1::Task> {
    Some(convert::task_to_proto(task))
}

#[tonic::async_trait]
impl TaskService for TaskApi {
    type StreamTaskLogsStream = Responses<v1::StreamTaskLogsResponse>;

    async fn create_task(
        &self,
        request: Request<v1::CreateTaskRequest>,
    ) -> Result<Response<v1::CreateTaskResponse>, Status> {
        let task = Some(self.create(request.into_inner()).await?);
        Ok(Response::new(v1::CreateTaskResponse { task }))
    }

    async fn batch_create_tasks(
        &self,
        request: Request<v1::BatchCreateTasksRequest>,
    ) -> Result<Response<v1::BatchCreateTasksResponse>, Status> {
        Ok(Response::new(self.create_batch(request.into_inner()).await?))
    }

    async fn get_task(&self, request: Request<v1::GetTaskRequest>) -> Result<Response<v1::GetTaskResponse>, Status> {
        let task_id = read_task_id(&request.into_inner().task_id)?;
        let state = self.api.writer.state();
        let task = state.task(task_id).ok_or_else(|| no_task(task_id))?;
        Ok(Response::new(v1::GetTaskResponse { task: shown(task) }))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn stop_task(&self, request: Request<v1::StopTaskRequest>) -> Result<Response<v1::StopTaskResponse>, Status> {
        let task = self.change(&request.into_inner().task_id, commands::stop_task).await?;
        Ok(Response::new(v1::StopTaskResponse { task: shown(&task) }))
    }

    async fn restart_task(
        &self,
        request: Request<v1::RestartTaskRequest>,
    ) -> Result<Response<v1::RestartTaskResponse>, Status> {
        let task = self.change(&request.into_inner().task_id, commands::restart_task).await?;
        Ok(Response::new(v1::RestartTaskResponse { task: shown(&task) }))
    }

    async fn delete_task(
        &self,
        request: Request<v1::DeleteTaskRequest>,
    ) -> Result<Response<v1::DeleteTaskResponse>, Status> {
        let v1::DeleteTaskRequest { task_id, force } = request.into_inner();
        let delete = move |draft: &mut Draft, task_id| commands::delete_task(draft, task_id, force);
        let revision = self.change(&task_id, delete).await?.0;
        Ok(Response::new(v1::DeleteTaskResponse { revision }))
    }

    async fn stream_task_logs(
        &self,
        request: Request<v1::StreamTaskLogsRequest>,
    ) -> Result<Response<Self::StreamTaskLogsStream>, Status> {
        let logs = TaskLogs::begin(&self.api, &request.into_inner())?;
        Ok(Response::new(Box::pin(logs.into_stream())))
    }

    async fn explain_task(
        &self,
        request: Request<v1::ExplainTaskRequest>,
    ) -> Result<Response<v1::ExplainTaskResponse>, Status> {
        let deadline = Deadline::of(&request);
        Ok(Response::new(explain::explain_task(&self.api, request.into_inner(), deadline).await?))
    }

    async fn move_task(&self, request: Request<v1::MoveTaskRequest>) -> Result<Response<v1::MoveTaskResponse>, Status> {
        let task = Some(rebalance::move_task(&self.api, request.into_inner()).await?);
        Ok(Response::new(v1::MoveTaskResponse { task }))
    }
}
