//! What is asked of the manager, and what each request does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use davit_proto::v1;
use tokio::time::Instant;
use tonic::Code;

use super::board::Board;
use super::load::Answer;
use crate::error::Error;
use crate::running::HANG;
use crate::running::client::Client;
use crate::running::work::spec;

/// Tasks of one page.
pub(super) const PAGE: u32 = 100;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// One task, by its id.
    GetTask,
    /// The first page of all tasks.
    ListTasks,
    /// A create, until all who watch for created tasks have its event.
    WatchEvents,
    /// One task.
    CreateTask,
}

impl Call {
    /// In the order in which they are measured: those that leave tasks behind come last.
    pub(super) const EACH: [Self; 4] = [Self::GetTask, Self::ListTasks, Self::WatchEvents, Self::CreateTask];

    /// As the API calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GetTask => "GetTask",
            Self::ListTasks => "ListTasks",
            Self::WatchEvents => "WatchEvents",
            Self::CreateTask => "CreateTask",
        }
    }

    /// As the result calls it.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::GetTask => "get_task",
            Self::ListTasks => "list_tasks",
            Self::WatchEvents => "watch_events",
            Self::CreateTask => "create_task",
        }
    }

    /// A rate that should be easy, to begin with.
    pub(super) fn first_rate(self) -> u64 {
        match self {
            Self::GetTask => 500,
            Self::ListTasks => 100,
            Self::WatchEvents => 20,
            Self::CreateTask => 100,
        }
    }
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Caller {
    /// Each has a connection of its own; requests take turns.
    clients: Vec<Client>,
    /// Of all tasks that are there from the start.
    task_ids: Vec<String>,
    board: Arc<Board>,
    created: AtomicU64,
    /// How many names were given to tasks that are watched for.
    named: AtomicU64,
}

impl Caller {
    pub(super) fn new(clients: Vec<Client>, task_ids: Vec<String>, board: Arc<Board>) -> Self {
        Self { clients, task_ids, board, created: AtomicU64::new(0), named: AtomicU64::new(0) }
    }

    /// How many tasks it has created.
    pub(super) fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Makes one request.
    pub(super) async fn call(self: Arc<Self>, call: Call, number: u64) -> Result<Answer, Error> {
        let mut client = pick(&self.clients, number)?.clone();
        match call {
            Call::GetTask => {
                // A prime step, so that neighbours are not asked for one after the other.
                let task_id = pick(&self.task_ids, number.wrapping_mul(7_919))?;
                client.task(task_id).await?;
                Ok(Answer::At(Instant::now()))
            }
            Call::ListTasks => {
                let tasks = client.first_tasks(PAGE).await?.len();
                let at = Instant::now();
                if tasks != self.task_ids.len().min(PAGE as usize) {
                    return Err(Error::WrongAnswer(format!("a page of {tasks} tasks")));
                }
                Ok(Answer::At(at))
            }
            Call::CreateTask => {
                let created = self.create(&mut client, &light("api")).await?;
                Ok(if created { Answer::At(Instant::now()) } else { Answer::Refused })
            }
            Call::WatchEvents => self.create_watched(&mut client).await,
        }
    }

    async fn create_watched(&self, client: &mut Client) -> Result<Answer, Error> {
        let name = format!("watched-{}", self.named.fetch_add(1, Ordering::Relaxed));
        let seen = self.board.expect(&name);
        if !self.create(client, &light(&name)).await? {
            self.board.forget(&name);
            return Ok(Answer::Refused);
        }
        let seen = tokio::time::timeout(HANG, seen).await.map_err(|_| Error::Hangs(HANG))?;
        seen.map_err(|_| Error::WrongAnswer(self.board.broken().unwrap_or_else(|| "a watch ended".to_owned())))
    }

    /// False when the manager has too much to do.
    async fn create(&self, client: &mut Client, spec: &v1::TaskSpec) -> Result<bool, Error> {
        match client.create_one(spec).await {
            Ok(_) => {
                self.created.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(Error::Stream(status)) if status.code() == Code::ResourceExhausted => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A task that reserves nothing, so that nodes have room for however many are created.
fn light(name: &str) -> v1::TaskSpec {
    v1::TaskSpec { name: name.to_owned(), resources: None, ..spec(0) }
}

fn pick<T>(all: &[T], number: u64) -> Result<&T, Error> {
    let place = number % (all.len() as u64).max(1);
    all.get(place as usize).ok_or(Error::NothingMeasured)
}
