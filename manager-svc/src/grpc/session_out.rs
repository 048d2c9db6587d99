//! What goes down a session: the welcome, assignments, acknowledgements, orders to bring output, and the end.

use std::sync::Arc;
use std::time::Duration;

use davit_proto::convert;
use davit_proto::v1;
use davit_proto::v1::session_response::Message;
use davit_svc_kit::shutdown::Shutdown;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tracing::debug;

use super::report_inbox::Receipt;
use crate::contacts::Contacts;
use crate::dispatch::{Delivery, LogOrder, Order, Outbox};
use crate::reconcile::pace;

/// Assignments are cut into messages of about this size.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// When a worker may dial again after the manager ended its session.
const REDIAL_AFTER: Duration = Duration::from_millis(500);

/// A worker that takes no message for so long is cut off: it would go on with what it was told long ago.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What is less than this part of a period is no reason to tell another pace.
const LEAST_CHANGE: u32 = 10;

/// Boxed, since a queue keeps room for 32 at least, however few it takes.
pub(super) type Out = mpsc::Sender<Result<Box<v1::SessionResponse>, Status>>;

/// How often the worker sends heartbeats, which depends on how many nodes there are.
pub(super) struct Pace {
    contacts: Contacts,
    period: Duration,
    told: Duration,
}

impl Pace {
    /// Of a worker that was told to send one in each period.
    pub(super) fn new(contacts: Contacts, period: Duration) -> Self {
        Self { contacts, period, told: period }
    }

    /// Acknowledges a heartbeat, and with it those before.
    fn acknowledge(&mut self, heartbeat_id: u64) -> v1::HeartbeatAck {
        let heartbeat_every = self.change().map(convert::duration_to_proto);
        v1::HeartbeatAck { heartbeat_id, heartbeat_every }
    }

    /// Another one than it was told last, if it is much different.
    fn change(&mut self) -> Option<Duration> {
        let pace = pace(self.period, self.contacts.count());
        if pace.abs_diff(self.told) < self.period / LEAST_CHANGE {
            return None;
        }
        self.told = pace;
        Some(pace)
    }
}

/// Writes one session's stream.
pub(super) struct SessionWriter {
    pub(super) outbox: Arc<Outbox>,
    /// The newest report that is durable.
    pub(super) acks: watch::Receiver<Receipt>,
    /// The newest heartbeat that was heard by itself.
    pub(super) heard: watch::Receiver<u64>,
    pub(super) pace: Pace,
    /// Specs that the worker was sent by number; `None`: it does not take them so.
    pub(super) specs: Option<convert::SentSpecs>,
    /// What other nodes left and the worker is to remove.
    pub(super) abandoned: mpsc::Receiver<Vec<convert::ForeignAttempt>>,
    pub(super) out: Out,
    pub(super) shutdown: Shutdown,
}

impl SessionWriter {
    /// Writes until the session ends; a worker that is gone ends it.
    pub(super) async fn run(mut self, welcome: v1::SessionResponse) {
        let shutdown = self.shutdown.clone();
        // Once for the session: all sessions wait for it in one list.
        let mut stops = std::pin::pin!(shutdown.triggered());
        if self.out.send(Ok(Box::new(welcome))).await.is_err() {
            return;
        }
        let mut acknowledged = 0;
        loop {
            let messages = tokio::select! {
                biased;
                () = &mut stops => {
                    self.end("the manager is stopping").await;
                    return;
                }
                Ok(()) = self.heard.changed() => {
                    acknowledged = *self.heard.borrow_and_update();
                    vec![Message::HeartbeatAck(self.pace.acknowledge(acknowledged))]
                }
                Ok(()) = self.acks.changed() => {
                    let Receipt { report_id, heartbeat_id } = *self.acks.borrow_and_update();
                    let heartbeat_ack = (heartbeat_id > acknowledged).then(|| self.pace.acknowledge(heartbeat_id));
                    acknowledged = acknowledged.max(heartbeat_id);
                    vec![Message::StatusAck(v1::StatusAck { report_id, heartbeat_ack })]
                }
                Some(attempts) = self.abandoned.recv() => {
                    let attempts = convert::foreign_attempts_to_proto(&attempts);
                    vec![Message::RemoveForeign(v1::RemoveForeign { attempts })]
                }
                delivery = self.outbox.next() => match delivery {
                    Delivery::FullSet(orders, revision) => assignments(orders, revision.0, true, self.specs.as_mut()),
                    Delivery::Changes(orders, revision) => assignments(orders, revision.0, false, self.specs.as_mut()),
                    Delivery::Logs(order) => vec![Message::StartLogs(start_logs(&order))],
                    Delivery::Close(reason) => {
                        self.end(&reason).await;
                        return;
                    }
                },
            };
            for message in messages {
                let sent = self.out.send(Ok(Box::new(v1::SessionResponse { message: Some(message) })));
                match tokio::time::timeout(SEND_TIMEOUT, sent).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => {
                        debug!("the worker does not read; its session ends");
                        return;
                    }
                }
            }
        }
    }

    async fn end(&self, reason: &str) {
        let retry_after = Some(convert::duration_to_proto(REDIAL_AFTER));
        let message = Message::Disconnect(v1::Disconnect { reason: reason.to_owned(), retry_after });
        // A worker that does not read is cut off without a word.
        let _ = tokio::time::timeout(
            REDIAL_AFTER,
            self.out.send(Ok(Box::new(v1::SessionResponse { message: Some(message) }))),
        )
        .await;
    }
}

/// Cuts orders into messages that no receiver refuses for their size.
fn assignments(
    orders: Vec<Order>,
    revision: u64,
    full: bool,
    mut specs: Option<&mut convert::SentSpecs>,
) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut current = v1::Assignments { full, revision, ..Default::default() };
    let mut bytes = 0;
    for order in orders {
        if bytes >= MAX_MESSAGE_BYTES {
            let next = v1::Assignments { full, revision, ..Default::default() };
            messages.push(Message::Assignments(std::mem::replace(&mut current, next)));
            bytes = 0;
        }
        match order {
            Order::Assign { key, desired_state, spec, revision, ports, part } => {
                let assignment = match &mut specs {
                    Some(specs) => specs.assignment_to_proto(key, revision, desired_state, &spec, &ports, part),
                    None => {
                        let spec = Some(convert::task_spec_to_proto(&spec));
                        convert::assignment_to_proto(key, revision, desired_state, spec, &ports, part)
                    }
                };
                bytes += assignment.encoded_len();
                current.assignments.push(assignment);
            }
            Order::Remove(key) => {
                let removed = convert::attempt_ref_to_proto(key);
                bytes += removed.encoded_len();
                current.removed.push(removed);
            }
        }
    }
    current.last = full;
    messages.push(Message::Assignments(current));
    messages
}

fn start_logs(order: &LogOrder) -> v1::StartLogs {
    v1::StartLogs {
        log_id: order.log_id.to_string(),
        task_id: order.key.task_id.to_string(),
        attempt: order.key.attempt.0,
        tail_lines: order.tail_lines,
        follow: order.follow,
        since: order.since.map(convert::timestamp_to_proto),
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, AttemptKey, TaskId};
    use uuid::Uuid;

    use super::*;

    fn removals(count: u128) -> Vec<Order> {
        let key = |number| AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt::FIRST };
        (0..count).map(|number| Order::Remove(key(number))).collect()
    }

    fn unpack(messages: Vec<Message>) -> Vec<v1::Assignments> {
        let assignments = |message| match message {
            Message::Assignments(assignments) => assignments,
            other => panic!("{other:?}"),
        };
        messages.into_iter().map(assignments).collect()
    }

    #[test]
    fn an_empty_full_set_is_still_one_message() {
        let messages = unpack(assignments(Vec::new(), 7, true, None));
        assert_eq!(messages.len(), 1);
        assert!(messages[0].full && messages[0].last && messages[0].revision == 7);
    }

    #[test]
    fn a_large_full_set_is_cut_and_only_its_last_message_says_so() {
        let messages = unpack(assignments(removals(60_000), 7, true, None));
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.encoded_len() < 2 * MAX_MESSAGE_BYTES));
        assert_eq!(messages.iter().map(|message| message.removed.len()).sum::<usize>(), 60_000);
        assert_eq!(messages.iter().filter(|message| message.last).count(), 1);
        assert!(messages[messages.len() - 1].last);
    }
}
