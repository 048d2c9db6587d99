//! What the demo asks of the manager.

use std::time::Duration;

use davit_core::spec::ImageReference;
use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::error::Error;

/// What the tasks of the demo are.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Containers of this image.
    Container(ImageReference),
    /// Plain processes.
    Process,
}

/// Creates the tasks of the demo and looks at how they end.
pub(super) struct Acts {
    tasks: TaskServiceClient<Channel>,
    nodes: NodeServiceClient<Channel>,
    kind: Kind,
}

impl Acts {
    pub(super) fn new(channel: Channel, kind: Kind) -> Self {
        Self { tasks: TaskServiceClient::new(channel.clone()), nodes: NodeServiceClient::new(channel), kind }
    }

    pub(super) async fn hello(&mut self) -> Result<String, Error> {
        let spec = self.spec("hello", "echo hello from a task of davit");
        self.create(spec).await
    }

    pub(super) async fn batch(&mut self, count: u32) -> Result<Vec<String>, Error> {
        let spec = self.spec("batch", "sleep 0.5");
        let group = v1::TaskGroup { spec: Some(spec), count: Some(count), all_or_nothing: false };
        let request = v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() };
        Ok(self.tasks.batch_create_tasks(request).await.map_err(refused)?.into_inner().task_ids)
    }

    pub(super) async fn crashing(&mut self) -> Result<String, Error> {
        let mut spec = self.spec("crashing", "exit 3");
        spec.restart_policy = Some(v1::RestartPolicy {
            mode: v1::RestartMode::OnFailure.into(),
            max_attempts: 3,
            initial_delay: Some(duration_to_proto(Duration::from_secs(1))),
            ..Default::default()
        });
        self.create(spec).await
    }

    pub(super) async fn picky(&mut self) -> Result<String, Error> {
        let mut spec = self.spec("picky", "true");
        spec.constraints = vec!["disk == ssd".to_owned()];
        self.create(spec).await
    }

    pub(super) async fn label(&mut self, node: &str, key: &str, value: &str) -> Result<(), Error> {
        let user_labels = [(key.to_owned(), value.to_owned())].into_iter().collect();
        let request = v1::UpdateNodeRequest { node: node.to_owned(), user_labels, ..Default::default() };
        self.nodes.update_node(request).await.map(drop).map_err(refused)
    }

    pub(super) async fn read_logs(&mut self, task_id: &str) -> Result<String, Error> {
        let request = v1::StreamTaskLogsRequest { task_id: task_id.to_owned(), ..Default::default() };
        let mut stream = self.tasks.stream_task_logs(request).await.map_err(refused)?.into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.message().await.map_err(refused)? {
            bytes.extend(piece.data);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) async fn expect_state(&mut self, task_id: &str, wanted: v1::TaskState) -> Result<(), Error> {
        let request = v1::GetTaskRequest { task_id: task_id.to_owned() };
        let task = self.tasks.get_task(request).await.map_err(refused)?.into_inner().task.unwrap_or_default();
        let status = task.status.unwrap_or_default();
        if status.state() == wanted {
            return Ok(());
        }
        let (state, reason) = (status.state().as_str_name(), status.reason);
        Err(Error::failed(format!("task {task_id} is {state} instead of {}: {reason}", wanted.as_str_name())))
    }

    pub(super) async fn delete(&mut self, task_id: &str) -> Result<(), Error> {
        let request = v1::DeleteTaskRequest { task_id: task_id.to_owned(), force: true };
        self.tasks.delete_task(request).await.map(drop).map_err(refused)
    }

    async fn create(&mut self, spec: v1::TaskSpec) -> Result<String, Error> {
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let task = self.tasks.create_task(request).await.map_err(refused)?.into_inner().task;
        Ok(task.unwrap_or_default().task_id)
    }

    fn spec(&self, name: &str, script: &str) -> v1::TaskSpec {
        let command = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let runtime = match &self.kind {
            Kind::Container(image) => v1::task_spec::Runtime::Container(v1::ContainerSpec {
                image: image.to_string(),
                command,
                ..Default::default()
            }),
            Kind::Process => v1::task_spec::Runtime::Process(v1::ProcessSpec { command, ..Default::default() }),
        };
        v1::TaskSpec { name: name.to_owned(), runtime: Some(runtime), ..Default::default() }
    }
}

fn refused(status: Status) -> Error {
    Error::Refused { status: Box::new(status) }
}
