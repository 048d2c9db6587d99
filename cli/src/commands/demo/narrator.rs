//! Tells what the cluster's events say, as they come.

use std::collections::{BTreeMap, BTreeSet};

use davit_proto::v1;
use davit_proto::v1::event::Object;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::watch_events_response::Message;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::error::Error;
use crate::output::Output;

/// Follows events and prints each.
pub(super) struct Narrator<'a> {
    watch: Streaming<v1::WatchEventsResponse>,
    output: &'a Output,
    /// Names of nodes by id, learned from events.
    nodes: BTreeMap<String, String>,
    /// Newest version of every task that was heard of.
    tasks: BTreeMap<String, v1::Task>,
    /// The first event's time in milliseconds; lines count from it.
    began_millis: Option<i64>,
}

impl<'a> Narrator<'a> {
    /// Watches from the cluster's beginning, so that the nodes' joining is told too.
    pub(super) async fn begin(channel: Channel, output: &'a Output) -> Result<Self, Error> {
        let request = v1::WatchEventsRequest { after_revision: Some(0), filter: None };
        let watch = EventServiceClient::new(channel).watch_events(request).await.map_err(refused)?.into_inner();
        Ok(Self { watch, output, nodes: BTreeMap::new(), tasks: BTreeMap::new(), began_millis: None })
    }

    /// Tells what happens until all of these tasks have ended and none will be tried again.
    pub(super) async fn until_ended(&mut self, task_ids: &[String]) -> Result<(), Error> {
        let mut waiting: BTreeSet<&String> = task_ids.iter().collect();
        loop {
            waiting.retain(|task_id| !self.tasks.get(*task_id).is_some_and(is_over));
            if waiting.is_empty() {
                return Ok(());
            }
            self.tell_next().await?;
        }
    }

    /// Tells what happens until a task waits for a reason that begins like this.
    pub(super) async fn until_waiting_for(&mut self, reason: &str, task_id: &str) -> Result<(), Error> {
        loop {
            let status = self.tasks.get(task_id).and_then(|task| task.status.as_ref());
            if status.is_some_and(|status| status.reason.starts_with(reason)) {
                return Ok(());
            }
            self.tell_next().await?;
        }
    }

    async fn tell_next(&mut self) -> Result<(), Error> {
        let message = self.watch.message().await.map_err(refused)?;
        let message = message.ok_or_else(|| Error::failed("the watch ended early"))?;
        let Some(Message::Event(event)) = message.message else { return Ok(()) };
        if let Some(line) = self.line_of(&event) {
            self.output.print(&line)?;
        }
        match event.object {
            Some(Object::Task(task)) => {
                self.tasks.insert(task.task_id.clone(), task);
            }
            Some(Object::Node(node)) => {
                self.nodes.insert(node.node_id, node.name);
            }
            Some(Object::Deployment(_) | Object::Job(_) | Object::Config(_)) | None => {}
        }
        Ok(())
    }

    /// One line for an event; `None` for what would only be noise here.
    fn line_of(&mut self, event: &v1::Event) -> Option<String> {
        let millis = event.time.map_or(0, |time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000);
        let since = millis - *self.began_millis.get_or_insert(millis);
        let (who, place) = match event.object.as_ref()? {
            Object::Node(node) => (node.name.clone(), String::new()),
            Object::Config(config) => (config.name.clone(), String::new()),
            Object::Deployment(deployment) => {
                (deployment.spec.as_ref().map_or(String::new(), |spec| spec.name.clone()), String::new())
            }
            Object::Job(job) => (job.spec.as_ref().map_or(String::new(), |spec| spec.name.clone()), String::new()),
            Object::Task(task) => {
                let name = task.spec.as_ref().map_or("", |spec| spec.name.as_str());
                let tail = task.task_id.get(task.task_id.len().saturating_sub(4)..).unwrap_or_default();
                let node_id = task.status.as_ref().map_or("", |status| status.node_id.as_str());
                let place = self.nodes.get(node_id).map_or(String::new(), |node| format!("on {node}"));
                (format!("{name} …{tail}"), place)
            }
        };
        let told_before = event.r#type() == v1::EventType::TaskDeleted;
        (!told_before).then(|| {
            let seconds = since as f64 / 1000.0;
            format!("   {seconds:>6.2} s  {who:<15} {place:<9}  {}\n", event.message)
        })
    }
}

/// Whether a task has ended and stays so.
fn is_over(task: &v1::Task) -> bool {
    let Some(status) = &task.status else { return false };
    let policy = task.spec.as_ref().and_then(|spec| spec.restart_policy.as_ref());
    match status.state() {
        v1::TaskState::Completed | v1::TaskState::Stopped => true,
        v1::TaskState::Failed => policy.is_none_or(|policy| {
            policy.mode() != v1::RestartMode::OnFailure
                || (policy.max_attempts > 0 && task.attempt >= policy.max_attempts)
        }),
        _ => false,
    }
}

fn refused(status: Status) -> Error {
    Error::Refused { status: Box::new(status) }
}
