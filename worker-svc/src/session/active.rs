//! An open session: waits for the next thing to do, then does it without waiting.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use davit_core::validate::Violations;
use davit_proto::convert::{
    ForeignAttempt, KnownSpecs, RuntimeHealth, assignment_from_proto, attempt_ref_from_proto, attempt_report_to_proto,
    duration_from_proto, duration_to_proto, foreign_attempts_from_proto, foreign_attempts_to_proto,
    runtime_health_to_proto,
};
use davit_proto::v1;
use davit_proto::v1::session_request::Message as Request;
use davit_proto::v1::session_response::Message as Response;
use davit_proto::v1::worker_session_service_client::WorkerSessionServiceClient;
use davit_svc_kit::bugs::{self, Bug};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::WaitForCancellationFuture;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::alarm::Alarm;
use super::heartbeats::Heartbeats;
use super::pulse::Pulse;
use super::{EndReason, Ending, Opened, files, logs};
use crate::agent::assignments::Batch;
use crate::agent::{Agent, FileRequest};
use crate::node::Node;

/// How long the manager may take to end its side of the stream after this side has ended.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// The machine is measured no more often than this.
const MIN_MEASURE_PERIOD: Duration = Duration::from_secs(1);
/// Outputs that are read side by side; more are refused.
const MAX_LOG_READINGS: usize = 32;
/// Configs and secrets that are fetched side by side; others wait.
const MAX_FETCHES: usize = 16;

pub(super) struct Active {
    node: Arc<Node>,
    agent: Arc<Agent>,
    manager: Endpoint,
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
    /// When what was assigned is reported at the latest.
    report_due: Alarm,
    /// What was counted last has not changed since.
    counted: watch::Receiver<()>,
    pulse: Pulse,
    specs: KnownSpecs,
    readings: JoinSet<()>,
    fetches: JoinSet<()>,
    /// A connection of their own for all of them, once there is one.
    fetches_by: Option<WorkerSessionServiceClient<Channel>>,
    drain: Word,
    farewell: Word,
    _measuring: AbortOnDropHandle<()>,
    health: watch::Receiver<Option<RuntimeHealth>>,
    health_due: bool,
    foreign: watch::Receiver<Vec<ForeignAttempt>>,
    foreign_due: bool,
}

/// How far something is that is said once in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    NotDue,
    /// It found the queue full and goes with the next heartbeat.
    Due,
    Said,
}

impl Word {
    fn sent(sent: bool) -> Self {
        if sent { Self::Said } else { Self::Due }
    }
}

/// The worker is to end the session.
type Cancelled<'a, 'b> = Pin<&'a mut WaitForCancellationFuture<'b>>;

/// The next thing to do.
enum Action {
    Drain,
    Goodbye,
    Heartbeat,
    Report,
    Health,
    Foreign,
    Take(Box<Response>),
    Fetch(FileRequest),
    End(EndReason),
    Nothing,
}

impl Active {
    pub(super) async fn new(node: Arc<Node>, agent: Arc<Agent>, opened: Opened) -> Self {
        let Opened { manager, requests, responses, welcome, registered_at, health } = opened;
        // The registration counts as the first heartbeat, and the welcome acknowledges it.
        let heartbeats = Heartbeats::new(welcome.lease_duration);
        // The lease before this worker is in charge, or what it holds would be stopped; and the full set that is to come counts
        // before the manager is in reach again, or what waits for that would be begun by an earlier one.
        node.renew_lease(heartbeats.lease_of(registered_at));
        agent.begin_session(welcome.heartbeat_period, welcome.lease_duration);
        agent.heard(registered_at);
        // The first heartbeat brings stats already.
        let (measured, mut stats) = watch::channel(node.measure().await);
        stats.mark_changed();
        let measuring = tokio::spawn({
            let node = Arc::clone(&node);
            let period = welcome.heartbeat_period.max(MIN_MEASURE_PERIOD);
            async move {
                while !measured.is_closed() {
                    tokio::time::sleep(period).await;
                    measured.send_replace(node.measure().await);
                }
            }
        });
        let (mut foreign, mut counted) = (agent.foreign(), agent.changes());
        counted.mark_changed();
        // A new session knows nothing of what an earlier one told.
        if !foreign.borrow().is_empty() {
            foreign.mark_changed();
        }
        Self {
            node,
            agent,
            manager,
            requests,
            responses,
            report_due: Alarm::default(),
            counted,
            pulse: Pulse::new(heartbeats, welcome.heartbeat_period, stats),
            specs: KnownSpecs::new(),
            readings: JoinSet::new(),
            fetches: JoinSet::new(),
            fetches_by: None,
            drain: Word::NotDue,
            farewell: Word::NotDue,
            _measuring: AbortOnDropHandle::new(measuring),
            health,
            health_due: false,
            foreign,
            foreign_due: false,
        }
    }

    pub(super) async fn run(mut self, ending: &Ending) -> EndReason {
        self.node.set_connected();
        // Once for the session: what waits for a token is kept in a list.
        let mut stop = pin!(ending.stop.cancelled());
        let mut leaves = pin!(ending.leaves.cancelled());
        let mut drains = pin!(ending.drains.cancelled());
        loop {
            let action = self.select(stop.as_mut(), leaves.as_mut(), drains.as_mut()).await;
            if let Some(reason) = self.apply(action) {
                if matches!(reason, EndReason::Stopped) {
                    self.close().await;
                }
                return reason;
            }
        }
    }

    /// Waits for the next thing to do. May be dropped without losing anything.
    async fn select(
        &mut self,
        stop: Cancelled<'_, '_>,
        leaves: Cancelled<'_, '_>,
        drains: Cancelled<'_, '_>,
    ) -> Action {
        tokio::select! {
            // The goodbye goes before reports of what it announces.
            biased;
            () = stop => Action::End(EndReason::Stopped),
            () = leaves, if self.farewell == Word::NotDue => Action::Goodbye,
            () = drains, if self.drain == Word::NotDue => Action::Drain,
            () = self.pulse.due() => Action::Heartbeat,
            () = self.agent.report_ready() => Action::Report,
            () = self.report_due.passed() => Action::Report,
            response = self.responses.message() => match response {
                Ok(Some(v1::SessionResponse { message: Some(message) })) => Action::Take(Box::new(message)),
                // Of a newer manager: something this worker does not know.
                Ok(Some(v1::SessionResponse { message: None })) => Action::Nothing,
                Ok(None) => Action::End(EndReason::Closed),
                Err(status) => Action::End(broken(&status)),
            },
            Some(_) = self.readings.join_next() => Action::Nothing,
            Some(_) = self.fetches.join_next() => Action::Nothing,
            request = self.agent.next_file_request(), if self.fetches.len() < MAX_FETCHES => Action::Fetch(request),
            Ok(()) = self.health.changed() => Action::Health,
            Ok(()) = self.foreign.changed() => Action::Foreign,
        }
    }

    fn apply(&mut self, action: Action) -> Option<EndReason> {
        match action {
            Action::Heartbeat => {
                // A report that found the queue full goes now.
                let went_along = self.send_report();
                self.send_what_waits();
                return if went_along { None } else { self.send_heartbeat() };
            }
            Action::Drain => self.send_drain(),
            Action::Goodbye => self.send_goodbye(),
            Action::Report => {
                if self.send_report() {
                    self.send_what_waits();
                }
            }
            Action::Health => self.send_health(),
            Action::Foreign => self.send_foreign(),
            Action::Take(response) => return self.take(*response),
            Action::Fetch(request) => self.fetch(request),
            Action::End(reason) => return Some(reason),
            Action::Nothing => {}
        }
        None
    }

    fn fetch(&mut self, request: FileRequest) {
        let connect = || WorkerSessionServiceClient::new(self.node.world.dialer.connect_lazy(&self.manager));
        let client = self.fetches_by.get_or_insert_with(connect).clone();
        self.fetches.spawn(files::fetch(client, self.node.node_id(), request));
    }

    /// With each heartbeat: what found the queue full before, and what is counted.
    fn send_what_waits(&mut self) {
        if self.health_due {
            self.send_health();
        }
        if self.foreign_due {
            self.send_foreign();
        }
        if self.drain == Word::Due {
            self.send_drain();
        }
        if self.farewell == Word::Due {
            self.send_goodbye();
        }
        self.count();
    }

    fn send_heartbeat(&mut self) -> Option<EndReason> {
        let heartbeat = Request::Heartbeat(self.pulse.next(self.node.world.clock.uptime()));
        if self.requests.try_send(v1::SessionRequest { message: Some(heartbeat) }).is_ok() {
            self.pulse.went();
            return None;
        }
        self.pulse.is_stuck().then_some(EndReason::Stuck)
    }

    fn send_health(&mut self) {
        let health = self.health.borrow_and_update().clone().unwrap_or_default();
        let health = Request::RuntimeHealth(runtime_health_to_proto(&health));
        // One that finds the queue full goes with the next heartbeat, or the report that brings it.
        self.health_due = self.requests.try_send(v1::SessionRequest { message: Some(health) }).is_err();
    }

    fn send_foreign(&mut self) {
        let attempts = foreign_attempts_to_proto(&self.foreign.borrow_and_update());
        let foreign = Request::ForeignAttempts(v1::ForeignAttempts { attempts });
        self.foreign_due = self.requests.try_send(v1::SessionRequest { message: Some(foreign) }).is_err();
    }

    fn send_drain(&mut self) {
        let drain = v1::SessionRequest { message: Some(Request::Drain(v1::Drain {})) };
        self.drain = Word::sent(self.requests.try_send(drain).is_ok());
    }

    fn send_goodbye(&mut self) {
        self.farewell = Word::sent(self.requests.try_send(goodbye()).is_ok());
    }

    /// True when a heartbeat went with it.
    fn send_report(&mut self) -> bool {
        self.report_due.set(None);
        // First a place in the queue: a report that is taken counts as under way.
        let Ok(place) = self.requests.try_reserve() else { return false };
        let Some(report) = self.agent.next_report() else {
            self.report_due.set(self.agent.next_report_due());
            return false;
        };
        let reports =
            report.statuses.iter().map(|(key, status)| attempt_report_to_proto(key.task_id, status)).collect();
        let goes_along = self.pulse.goes_along();
        let heartbeat = goes_along.then(|| self.pulse.next(self.node.world.clock.uptime()));
        let report = v1::StatusReport { report_id: report.report_id, reports, heartbeat };
        place.send(v1::SessionRequest { message: Some(Request::StatusReport(report)) });
        if goes_along {
            self.pulse.went_along();
        }
        metrics::counter!("davit_worker_reports_total", "node" => self.node.config.name.clone()).increment(1);
        goes_along
    }

    fn take(&mut self, response: Response) -> Option<EndReason> {
        match response {
            Response::Assignments(assignments) => {
                self.agent.assign(batch(assignments, &mut self.specs));
                self.report_due.set(self.agent.next_report_due());
            }
            Response::HeartbeatAck(ack) => self.heartbeat_acknowledged(ack),
            Response::StatusAck(ack) => {
                self.agent.acknowledge(ack.report_id);
                if let Some(ack) = ack.heartbeat_ack {
                    self.heartbeat_acknowledged(ack);
                }
            }
            Response::StartLogs(order) => {
                // Each has a connection of its own. What a slow reader leaves unread fills the connection's window, and nothing
                // else goes through it then: no heartbeat either.
                let channel = self.node.world.dialer.connect_lazy(&self.manager);
                let (client, agent) = (WorkerSessionServiceClient::new(channel), Arc::clone(&self.agent));
                let refused = self.readings.len() >= MAX_LOG_READINGS;
                self.readings.spawn(logs::publish(client, agent, order, refused));
            }
            Response::RemoveForeign(order) => {
                let mut violations = Violations::new();
                match foreign_attempts_from_proto(&order.attempts, "remove_foreign.attempts", &mut violations) {
                    Some(attempts) => self.agent.remove_foreign(&attempts),
                    None => tracing::error!(%violations, "a removal can't be understood; is the manager newer?"),
                }
            }
            Response::Disconnect(disconnect) => return Some(disconnected(disconnect)),
            Response::Welcome(_) => return Some(EndReason::Unreadable("it welcomes a second time".to_owned())),
        }
        None
    }

    /// The manager has heard a heartbeat, and may ask for another pace.
    fn heartbeat_acknowledged(&mut self, ack: v1::HeartbeatAck) {
        if let Some((sent_at, lease)) = self.pulse.acknowledged(ack.heartbeat_id) {
            self.node.heard(sent_at, lease);
        }
        let Some(every) = ack.heartbeat_every else { return };
        let every = duration_from_proto(every, "heartbeat_every", &mut Violations::new());
        if !every.is_some_and(|every| self.pulse.change_pace(every)) {
            tracing::warn!("the manager asks for a pace of heartbeats that can't be");
        }
    }

    /// Says how many attempts are in each state, if that may have changed.
    fn count(&mut self) {
        if !self.counted.has_changed().unwrap_or(false) {
            return;
        }
        self.counted.mark_unchanged();
        for (state, count) in self.agent.count_by_state() {
            let labels = [("node", self.node.config.name.clone()), ("state", state.to_string())];
            metrics::gauge!("davit_worker_attempts", &labels).set(count as f64);
        }
    }

    /// Ends the session: with a goodbye if nothing is left running, so that the manager need not wait for this worker. What
    /// was left running would be replaced at once after a goodbye, while a worker that is only restarted is soon back.
    async fn close(mut self) {
        let last_word = if self.farewell == Word::Said {
            None
        } else if self.agent.leaves_any() {
            Some(self.node.config.away_time).filter(|time| !time.is_zero() && !bugs::is(Bug::AwayUnsaid)).map(away)
        } else {
            Some(goodbye())
        };
        let end = async {
            if let Some(word) = last_word
                && self.requests.send(word).await.is_err()
            {
                return;
            }
            // Ends this direction; the manager ends the other when it has read everything.
            drop(self.requests);
            while let Ok(Some(_)) = self.responses.message().await {}
        };
        if tokio::time::timeout(GOODBYE_TIME, end).await.is_err() {
            tracing::debug!("the manager did not end the session in time");
        }
    }
}

fn goodbye() -> v1::SessionRequest {
    let goodbye = v1::Goodbye { reason: "the worker was stopped".to_owned() };
    v1::SessionRequest { message: Some(Request::Goodbye(goodbye)) }
}

fn away(back_within: Duration) -> v1::SessionRequest {
    let away = v1::Away { back_within: Some(duration_to_proto(back_within)) };
    v1::SessionRequest { message: Some(Request::Away(away)) }
}

fn broken(status: &Status) -> EndReason {
    EndReason::Broken(format!("{:?}: {}", status.code(), status.message()))
}

pub(super) fn disconnected(disconnect: v1::Disconnect) -> EndReason {
    let after = disconnect.retry_after;
    let retry_after = after.and_then(|after| duration_from_proto(after, "retry_after", &mut Violations::new()));
    EndReason::Disconnected { reason: disconnect.reason, retry_after: retry_after.unwrap_or_default() }
}

/// Reads assignments. One that can't be read is told and left out; the others are as good as without it.
pub(super) fn batch(message: v1::Assignments, specs: &mut KnownSpecs) -> Batch {
    let mut batch = Batch { full: message.full, last: message.last, ..Batch::default() };
    for (index, assignment) in message.assignments.into_iter().enumerate() {
        let mut violations = Violations::new();
        match assignment_from_proto(assignment, specs, &format!("assignments[{index}]"), &mut violations) {
            Some(assignment) => batch.assignments.push(assignment),
            None => tracing::error!(%violations, "an assignment can't be understood; is the manager newer?"),
        }
    }
    for (index, removed) in message.removed.iter().enumerate() {
        let mut violations = Violations::new();
        match attempt_ref_from_proto(removed, &format!("removed[{index}]"), &mut violations) {
            Some(key) => batch.removed.push(key),
            None => tracing::error!(%violations, "a removal can't be understood; is the manager newer?"),
        }
    }
    batch
}

#[cfg(test)]
mod tests;
