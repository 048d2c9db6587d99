//! What users ask of tasks.

use davit_core::id::TaskId;
use davit_proto::v1;
use tonic::Status;

use crate::net::Host;

use super::{Call, Kind, Outcome, TRIES, Users, done, in_time, outcome_of};

impl Users {
    pub(super) async fn create(&self) {
        let kind = match self.rng.below(10) {
            0..=1 => Kind::Service,
            2..=3 => Kind::Lonely,
            4..=7 => Kind::Job,
            _ => Kind::FailingJob,
        };
        // Room is short, but not so short that what is to run for ever can't.
        let endless = matches!(kind, Kind::Service | Kind::Lonely);
        let kind = if endless && self.services() >= 5 { Kind::Job } else { kind };
        let count = if !endless && self.rng.percent(30) { 3 } else { 1 };
        let name = self.next_name("task");
        self.create_until_answered(&name, kind, count).await;
    }

    /// Scales up and down: makes some services in one go and, soon after, stops all of them in one go.
    pub(super) async fn scale(&self) {
        let count = u32::try_from(self.rng.between(2, 4)).unwrap_or(2);
        let name = self.next_name("scaled");
        let task_ids = self.create_until_answered(&name, Kind::Scaled, count).await;
        tokio::time::sleep(self.rng.millis(0, 4000)).await;
        let stops = task_ids.into_iter().map(|task_id| {
            let user = self.clone();
            tokio::spawn(async move { user.stop_until_answered(task_id).await })
        });
        let stops: Vec<_> = stops.collect();
        for stop in stops {
            // One that panicked is told by the panic.
            let _ = stop.await;
        }
    }

    /// Some services that are best placed on this machine's node, whatever room it has.
    pub async fn create_near(&self, host: Host, count: u32) -> Vec<TaskId> {
        let name = self.next_name("near");
        let mut spec = self.spec(&name, Kind::Service);
        spec.resources = None;
        if let Some(v1::task_spec::Runtime::Container(container)) = &mut spec.runtime {
            container.mounts.clear();
        }
        let near = v1::NodeAffinity { expression: format!("node.name == {host}"), weight: 100 };
        spec.placement = Some(v1::PlacementPolicy { affinities: vec![near], ..Default::default() });
        self.create_spec_until_answered(&name, &spec, Kind::Service, count).await
    }

    /// Creates with a request id, as often as it takes to be answered. Tells which tasks were made.
    async fn create_until_answered(&self, name: &str, kind: Kind, count: u32) -> Vec<TaskId> {
        let spec = self.spec(name, kind);
        self.create_spec_until_answered(name, &spec, kind, count).await
    }

    async fn create_spec_until_answered(&self, name: &str, spec: &v1::TaskSpec, kind: Kind, count: u32) -> Vec<TaskId> {
        let request_id = format!("request-of-{name}");
        let call = Call::Create { name: name.to_owned(), count, kind };
        let mut made = Vec::new();
        for _ in 0..TRIES {
            let answer = Box::pin(self.ask_to_create(spec, &request_id, count)).await;
            let outcome = match answer {
                Ok(task_ids) => {
                    self.known.lock().extend(task_ids.iter().map(|task_id| (*task_id, kind)));
                    made.clone_from(&task_ids);
                    Outcome::Created(task_ids)
                }
                Err(status) => outcome_of(&status),
            };
            let is_over = !matches!(outcome, Outcome::Unknown(_));
            self.answered(call.clone(), outcome);
            // Now and then an impatient user sends it once more, although it was answered.
            if is_over && !self.rng.percent(15) {
                break;
            }
            tokio::time::sleep(self.rng.millis(100, 2000)).await;
        }
        made
    }

    async fn ask_to_create(&self, spec: &v1::TaskSpec, request_id: &str, count: u32) -> Result<Vec<TaskId>, Status> {
        let (spec, request_id) = (Some(spec.clone()), request_id.to_owned());
        let task_ids = if count == 1 {
            let request = v1::CreateTaskRequest { spec, request_id, ..Default::default() };
            let mut tasks = self.tasks.clone();
            let response = in_time(Box::pin(async move { tasks.create_task(request).await })).await?;
            response.into_inner().task.map(|task| task.task_id).into_iter().collect()
        } else {
            let group = v1::TaskGroup { spec, count: Some(count), all_or_nothing: false };
            let request = v1::BatchCreateTasksRequest { groups: vec![group], request_id, ..Default::default() };
            let mut tasks = self.tasks.clone();
            in_time(async move { tasks.batch_create_tasks(request).await }).await?.into_inner().task_ids
        };
        Ok(task_ids.iter().filter_map(|task_id| task_id.parse().ok()).collect())
    }

    pub(super) async fn create_wrong(&self) {
        let name = self.next_name("wrong");
        let mut spec = self.spec(&name, Kind::Job);
        spec.constraints.push("disk ~~ ssd".to_owned());
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let mut tasks = self.tasks.clone();
        let outcome = match Box::pin(in_time(async move { tasks.create_task(request).await })).await {
            Ok(_) => Outcome::Done,
            Err(status) => outcome_of(&status),
        };
        self.answered(Call::CreateWrong { name }, outcome);
    }

    /// Stops a task once. True if it was answered.
    pub(super) async fn stop(&self, task_id: TaskId) -> bool {
        let (mut tasks, request) = (self.tasks.clone(), v1::StopTaskRequest { task_id: task_id.to_string() });
        let outcome = done(in_time(async move { tasks.stop_task(request).await }).await);
        let is_answered = !matches!(outcome, Outcome::Unknown(_));
        self.answered(Call::Stop(task_id), outcome);
        is_answered
    }

    async fn stop_until_answered(&self, task_id: TaskId) {
        for _ in 0..TRIES {
            if self.stop(task_id).await {
                return;
            }
            tokio::time::sleep(self.rng.millis(100, 2000)).await;
        }
    }

    /// Stops, restarts or deletes one of these.
    pub(super) async fn meddle_with_one_of(&self, task_ids: &[TaskId]) {
        let Some(task_id) = self.rng.pick(task_ids).copied() else { return };
        match self.rng.below(3) {
            0 => {
                self.stop(task_id).await;
            }
            1 => self.restart(task_id).await,
            _ => self.delete(task_id).await,
        }
    }

    pub(super) async fn restart(&self, task_id: TaskId) {
        let (mut tasks, request) = (self.tasks.clone(), v1::RestartTaskRequest { task_id: task_id.to_string() });
        let outcome = done(in_time(async move { tasks.restart_task(request).await }).await);
        self.answered(Call::Restart(task_id), outcome);
    }

    pub(super) async fn delete(&self, task_id: TaskId) {
        let mut tasks = self.tasks.clone();
        let request = v1::DeleteTaskRequest { task_id: task_id.to_string(), force: true };
        let outcome = done(in_time(async move { tasks.delete_task(request).await }).await);
        self.answered(Call::Delete(task_id), outcome);
    }
}
