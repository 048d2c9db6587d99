//! What users do: creates (tried again with their request id until they are answered), stops, restarts, deletes, cordons, and
//! requests that are wrong. Every answer goes into the history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::TaskId;
use davit_proto::v1;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_svc_kit::client;
use davit_svc_kit::net::Dialer;
use parking_lot::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::cluster::{CLIENT, Cluster, MANAGER, MANAGER_PORT};
use crate::gate::Gate;
use crate::history::{Event, History};
use crate::net::Host;
use crate::rng::Rng;

/// How long a client waits for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// How often a create is tried; the last tries come when all faults are over.
const CREATE_TRIES: u32 = 40;
/// Users that act side by side.
const USERS: u64 = 3;

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Create tasks: the request's name, which all its tasks bear, and how many.
    Create {
        /// The name.
        name: String,
        /// How many.
        count: u32,
        /// What they are.
        kind: Kind,
    },
    /// A create that is wrong.
    CreateWrong {
        /// The name that no task may ever have.
        name: String,
    },
    /// Stop a task.
    Stop(TaskId),
    /// Restart a task.
    Restart(TaskId),
    /// Delete a task, also one that runs.
    Delete(TaskId),
    /// Cordon or uncordon a node.
    Cordon(Host, bool),
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// These tasks were created.
    Created(Vec<TaskId>),
    /// It was done.
    Done,
    /// It was refused for good: nothing changed.
    Refused(Code),
    /// Nobody knows: it may have been done or not.
    Unknown(Code),
}

/// What a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Runs until it is stopped, and again whenever it ends.
    Service,
    /// As a service, but two of its attempts may never run at once.
    Lonely,
    /// Ends by itself with 0 and is never run again.
    Job,
    /// Fails, and is run again up to three times.
    FailingJob,
}

/// All users of one cluster.
#[derive(Clone)]
pub struct Users {
    tasks: TaskServiceClient<Channel>,
    nodes: NodeServiceClient<Channel>,
    cluster: Arc<Cluster>,
    history: History,
    rng: Rng,
    known: Arc<Mutex<BTreeMap<TaskId, Kind>>>,
    named: Arc<Mutex<u64>>,
}

impl Users {
    /// Users that have done nothing yet.
    #[must_use]
    pub fn new(cluster: &Arc<Cluster>, rng: Rng) -> Option<Self> {
        let dialer: Dialer = cluster.world(CLIENT, &Gate::new()).dialer;
        let endpoint = client::endpoint(&format!("{MANAGER}:{MANAGER_PORT}")).ok()?;
        let channel = dialer.connect_lazy(&endpoint);
        Some(Self {
            tasks: TaskServiceClient::new(channel.clone()),
            nodes: NodeServiceClient::new(channel),
            cluster: Arc::clone(cluster),
            history: cluster.history.clone(),
            rng,
            known: Arc::default(),
            named: Arc::default(),
        })
    }

    /// Acts until the time is up, then waits until every create is answered.
    pub async fn act(&self, time: Duration) {
        let users = (0..USERS).map(|_| {
            let user = self.clone();
            tokio::spawn(async move { user.act_alone(time).await })
        });
        let users: Vec<_> = users.collect();
        for user in users {
            // A user that panicked is told by the panic.
            let _ = user.await;
        }
    }

    async fn act_alone(&self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            match self.rng.below(100) {
                0..=44 => self.create().await,
                45..=49 => self.create_wrong().await,
                50..=64 => self.stop().await,
                65..=74 => self.restart().await,
                75..=86 => self.delete().await,
                _ => self.cordon().await,
            }
            tokio::time::sleep(self.rng.millis(50, 1500)).await;
        }
    }

    fn next_name(&self, prefix: &str) -> String {
        let mut named = self.named.lock();
        *named += 1;
        format!("{prefix}-{named}")
    }

    /// Creates with a request id, as often as it takes to be answered.
    async fn create(&self) {
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
        let request_id = format!("request-of-{name}");
        let spec = self.spec(&name, kind);
        let call = Call::Create { name: name.clone(), count, kind };
        for _ in 0..CREATE_TRIES {
            let answer = self.ask_to_create(&spec, &request_id, count).await;
            let outcome = match answer {
                Ok(task_ids) => {
                    self.known.lock().extend(task_ids.iter().map(|task_id| (*task_id, kind)));
                    Outcome::Created(task_ids)
                }
                Err(status) => outcome_of(&status),
            };
            let is_over = !matches!(outcome, Outcome::Unknown(_));
            self.answered(call.clone(), outcome);
            // Now and then an impatient user sends it once more, although it was answered.
            if is_over && !self.rng.percent(15) {
                return;
            }
            tokio::time::sleep(self.rng.millis(100, 2000)).await;
        }
    }

    async fn ask_to_create(&self, spec: &v1::TaskSpec, request_id: &str, count: u32) -> Result<Vec<TaskId>, Status> {
        let (spec, request_id) = (Some(spec.clone()), request_id.to_owned());
        let task_ids = if count == 1 {
            let request = v1::CreateTaskRequest { spec, request_id, ..Default::default() };
            let mut tasks = self.tasks.clone();
            let response = in_time(async move { tasks.create_task(request).await }).await?;
            response.into_inner().task.map(|task| task.task_id).into_iter().collect()
        } else {
            let group = v1::TaskGroup { spec, count: Some(count), all_or_nothing: false };
            let request = v1::BatchCreateTasksRequest { groups: vec![group], request_id, ..Default::default() };
            let mut tasks = self.tasks.clone();
            in_time(async move { tasks.batch_create_tasks(request).await }).await?.into_inner().task_ids
        };
        Ok(task_ids.iter().filter_map(|task_id| task_id.parse().ok()).collect())
    }

    async fn create_wrong(&self) {
        let name = self.next_name("wrong");
        let mut spec = self.spec(&name, Kind::Job);
        spec.constraints.push("disk ~~ ssd".to_owned());
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let mut tasks = self.tasks.clone();
        let outcome = match in_time(async move { tasks.create_task(request).await }).await {
            Ok(_) => Outcome::Done,
            Err(status) => outcome_of(&status),
        };
        self.answered(Call::CreateWrong { name }, outcome);
    }

    async fn stop(&self) {
        let Some(task_id) = self.some_task() else { return };
        let (mut tasks, request) = (self.tasks.clone(), v1::StopTaskRequest { task_id: task_id.to_string() });
        let outcome = done(in_time(async move { tasks.stop_task(request).await }).await);
        self.answered(Call::Stop(task_id), outcome);
    }

    async fn restart(&self) {
        let Some(task_id) = self.some_task() else { return };
        let (mut tasks, request) = (self.tasks.clone(), v1::RestartTaskRequest { task_id: task_id.to_string() });
        let outcome = done(in_time(async move { tasks.restart_task(request).await }).await);
        self.answered(Call::Restart(task_id), outcome);
    }

    async fn delete(&self) {
        let Some(task_id) = self.some_task() else { return };
        let mut tasks = self.tasks.clone();
        let request = v1::DeleteTaskRequest { task_id: task_id.to_string(), force: true };
        let outcome = done(in_time(async move { tasks.delete_task(request).await }).await);
        self.answered(Call::Delete(task_id), outcome);
    }

    async fn cordon(&self) {
        let hosts: Vec<Host> = self.cluster.machines.keys().copied().collect();
        let Some(host) = self.rng.pick(&hosts).copied() else { return };
        let cordoned = self.rng.percent(40);
        self.set_cordon(host, cordoned).await;
    }

    /// Cordons or uncordons a node once. True if it was done.
    pub async fn set_cordon(&self, host: Host, cordoned: bool) -> bool {
        let (mut nodes, node) = (self.nodes.clone(), host.to_owned());
        let outcome = if cordoned {
            done(in_time(async move { nodes.cordon_node(v1::CordonNodeRequest { node }).await }).await)
        } else {
            done(in_time(async move { nodes.uncordon_node(v1::UncordonNodeRequest { node }).await }).await)
        };
        let is_done = !matches!(outcome, Outcome::Unknown(_));
        self.answered(Call::Cordon(host, cordoned), outcome);
        is_done
    }

    fn some_task(&self) -> Option<TaskId> {
        let known: Vec<TaskId> = self.known.lock().keys().copied().collect();
        self.rng.pick(&known).copied()
    }

    fn services(&self) -> usize {
        self.known.lock().values().filter(|kind| matches!(kind, Kind::Service | Kind::Lonely)).count()
    }

    fn answered(&self, call: Call, outcome: Outcome) {
        let durable = match &outcome {
            Outcome::Created(task_ids) => self.cluster.disk.holds(task_ids),
            _ => true,
        };
        self.history.note(Event::Answered { call, outcome, durable });
    }

    fn spec(&self, name: &str, kind: Kind) -> v1::TaskSpec {
        let run_for = |low, high| ("fake.run_for_ms".to_owned(), self.rng.between(low, high).to_string());
        let mut labels: BTreeMap<String, String> = match kind {
            Kind::Service | Kind::Lonely => Vec::new(),
            Kind::Job => vec![run_for(200, 6000)],
            Kind::FailingJob => vec![run_for(100, 2000), ("fake.exit_code".to_owned(), "3".to_owned())],
        }
        .into_iter()
        .collect();
        if self.rng.percent(30) {
            labels.insert("fake.pull_ms".to_owned(), self.rng.between(10, 1500).to_string());
        }
        let (mode, max_attempts) = match kind {
            Kind::Service | Kind::Lonely => (v1::RestartMode::Always, 0),
            Kind::Job => (v1::RestartMode::OnFailure, 0),
            Kind::FailingJob => (v1::RestartMode::OnFailure, 3),
        };
        let short = |millis: u64| {
            let nanos = i32::try_from(millis * 1_000_000).unwrap_or(0);
            Some(prost_types::Duration { seconds: 0, nanos })
        };
        let ports =
            if self.rng.percent(50) { vec![v1::Port { container_port: 80, ..Default::default() }] } else { Vec::new() };
        let container = v1::ContainerSpec { image: "fake".to_owned(), ports, ..Default::default() };
        let reservation =
            v1::Resources { cpu_millis: self.rng.between(2, 5) * 200, memory_bytes: 64 << 20, disk_bytes: 16 << 20 };
        v1::TaskSpec {
            name: name.to_owned(),
            labels,
            runtime: Some(v1::task_spec::Runtime::Container(container)),
            resources: Some(v1::ResourceRequirements { reservation: Some(reservation), ..Default::default() }),
            restart_policy: Some(v1::RestartPolicy {
                mode: mode.into(),
                max_attempts,
                initial_delay: short(100),
                max_delay: short(900),
                ..Default::default()
            }),
            on_node_loss: (kind == Kind::Lonely)
                .then(|| v1::NodeLossPolicy { action: v1::NodeLossAction::StopAndReplace.into(), wait: None }),
            stop_policy: Some(v1::StopPolicy { grace: short(500), ..Default::default() }),
            ..Default::default()
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(ANSWER_TIME, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer came")))
}

fn done<T>(answer: Result<T, Status>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Done,
        Err(status) => outcome_of(&status),
    }
}

/// Whether an error says for sure that nothing changed.
fn outcome_of(status: &Status) -> Outcome {
    match status.code() {
        code @ (Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::AlreadyExists) => {
            Outcome::Refused(code)
        }
        code => Outcome::Unknown(code),
    }
}
