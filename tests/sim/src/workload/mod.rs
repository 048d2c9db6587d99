//! What users do: creates (tried again with their request id until they are answered), stops, restarts, deletes, batches that
//! come and go, deployments, cordons, drains, removals of nodes, and requests that are wrong. Every answer goes into the history.

mod deployment_specs;
mod deployments;
mod jobs;
mod nodes;
mod specs;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{DeploymentId, JobId, TaskId};
use davit_proto::v1::deployment_service_client::DeploymentServiceClient;
use davit_proto::v1::job_service_client::JobServiceClient;
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
/// How often it is tried what must be answered; the last tries come when all faults are over.
const TRIES: u32 = 40;
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
    /// Create a deployment of this name.
    CreateDeployment(String),
    /// Change what is wanted of the deployment of this name, or how its rollout goes on.
    ChangeDeployment {
        /// Its name.
        name: String,
        /// Which call.
        change: Change,
    },
    /// Delete the deployment of this name.
    DeleteDeployment(String),
    /// Create a job of this name.
    CreateJob(String),
    /// Something else with the job of this name.
    AskJob {
        /// Its name.
        name: String,
        /// Which call.
        call: JobCall,
    },
    /// Cordon or uncordon a node.
    Cordon(Host, bool),
    /// Move all tasks away from a node.
    Drain {
        /// Which.
        host: Host,
        /// How many at once.
        max_parallel: u32,
        /// After so long what is left is stopped.
        deadline: Option<Duration>,
    },
    /// End a node's drain.
    CancelDrain(Host),
    /// Forget a node.
    RemoveNode {
        /// Which.
        host: Host,
        /// Also if it is in use.
        force: bool,
    },
}

/// What can be asked of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobCall {
    /// Another run.
    Run,
    /// Nothing more begins.
    Pause,
    /// It goes on.
    Resume,
    /// Its runs are stopped.
    Stop,
    /// It goes, with its tasks.
    Delete,
}

/// What can be changed of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// All of its spec.
    Update,
    /// Its number of replicas.
    Scale,
    /// To an earlier version.
    Rollback,
    /// What waits behind its canaries may follow.
    Promote,
    /// Nothing more is replaced.
    Pause,
    /// It goes on.
    Resume,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// These tasks were created.
    Created(Vec<TaskId>),
    /// This is the newest version of the deployment.
    Version {
        /// Which deployment.
        deployment_id: DeploymentId,
        /// The version's number.
        version: u32,
    },
    /// This job was created.
    Job(JobId),
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
    /// As a service, one of several that are made and, soon after, stopped in one go.
    Scaled,
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
    deployments: DeploymentServiceClient<Channel>,
    jobs: JobServiceClient<Channel>,
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
            nodes: NodeServiceClient::new(channel.clone()),
            deployments: DeploymentServiceClient::new(channel.clone()),
            jobs: JobServiceClient::new(channel),
            cluster: Arc::clone(cluster),
            history: cluster.history.clone(),
            rng,
            known: Arc::default(),
            named: Arc::default(),
        })
    }

    /// Acts until the time is up, then waits until every create is answered.
    pub async fn act(&self, time: Duration) {
        let mut users: Vec<_> = (0..USERS)
            .map(|_| {
                let user = self.clone();
                tokio::spawn(async move { user.act_alone(time).await })
            })
            .collect();
        let user = Self { rng: self.rng.fork("deployments"), ..self.clone() };
        users.push(tokio::spawn(async move { user.keep_deployments(time).await }));
        let user = Self { rng: self.rng.fork("jobs"), ..self.clone() };
        users.push(tokio::spawn(async move { user.keep_jobs(time).await }));
        for user in users {
            // A user that panicked is told by the panic.
            let _ = user.await;
        }
    }

    async fn act_alone(&self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            match self.rng.below(100) {
                0..=37 => self.create().await,
                38..=42 => self.scale().await,
                43..=46 => self.create_wrong().await,
                47..=57 => {
                    if let Some(task_id) = self.some_task() {
                        self.stop(task_id).await;
                    }
                }
                58..=66 => {
                    if let Some(task_id) = self.some_task() {
                        self.restart(task_id).await;
                    }
                }
                67..=76 => {
                    if let Some(task_id) = self.some_task() {
                        self.delete(task_id).await;
                    }
                }
                77..=85 => self.cordon().await,
                86..=94 => self.drain().await,
                _ => self.remove().await,
            }
            tokio::time::sleep(self.rng.millis(50, 1500)).await;
        }
    }

    fn next_name(&self, prefix: &str) -> String {
        let mut named = self.named.lock();
        *named += 1;
        format!("{prefix}-{named}")
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
            Outcome::Job(job_id) => self.cluster.disk.holds_job(*job_id),
            Outcome::Version { deployment_id, version } => self.cluster.disk.holds_version(*deployment_id, *version),
            _ => true,
        };
        self.history.note(Event::Answered { call, outcome, durable });
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
