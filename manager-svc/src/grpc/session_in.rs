//! What comes up a session: heartbeats, status reports, and what else its worker tells.

use davit_core::id::SessionId;
use davit_core::validate::Violations;
use davit_proto::convert;
use davit_proto::v1;
use davit_proto::v1::session_request::Message;
use tokio::sync::{Notify, watch};
use tonic::Streaming;
use tracing::{debug, info, warn};

use super::report_inbox::Receipt;
use super::session_writes::{Reports, SessionWrites};
use crate::commands::{note_away, note_goodbye};

/// Where what a worker says goes.
pub(super) struct Told<'a> {
    pub(super) reports: &'a Reports,
    /// The newest heartbeat that counts and came by itself.
    pub(super) heartbeats: &'a watch::Sender<u64>,
    pub(super) health: watch::Sender<Option<convert::RuntimeHealth>>,
    pub(super) foreign: watch::Sender<Vec<convert::ForeignAttempt>>,
    pub(super) drain: &'a Notify,
}

/// Reads what the worker says until the stream ends, also after its goodbye: a worker may have attempts to stop before it
/// goes. True when it said goodbye.
pub(super) async fn read(
    writes: SessionWrites<'_>,
    session_id: SessionId,
    incoming: &mut Streaming<v1::SessionRequest>,
    told_to: Told<'_>,
) -> bool {
    let (contacts, node_id, mut said_goodbye) = (&writes.api.contacts, writes.registered.node_id, false);
    let take_in = |heartbeat: v1::Heartbeat, path, violations: &mut Violations| {
        let stats = heartbeat.stats.and_then(|stats| convert::node_stats_from_proto(stats, path, violations));
        if let Some(stats) = stats {
            contacts.measured(node_id, session_id, stats);
        }
        heartbeat.heartbeat_id
    };
    loop {
        let message = match incoming.message().await {
            Ok(Some(request)) => request.message,
            Ok(None) => return said_goodbye,
            Err(status) => {
                debug!(%status, "the worker's stream broke");
                return said_goodbye;
            }
        };
        // Only once it is noted as heard may anything be acknowledged: the node relies on its lease from then on.
        let counts = contacts.heard(node_id, session_id);
        let mut violations = Violations::new();
        match message {
            Some(Message::Heartbeat(heartbeat)) => {
                let heartbeat_id = take_in(heartbeat, "heartbeat.stats", &mut violations);
                if counts && heartbeat_id > 0 {
                    told_to.heartbeats.send_replace(heartbeat_id);
                }
            }
            Some(Message::StatusReport(mut report)) => {
                let heartbeat = report.heartbeat.take().filter(|_| counts);
                let heartbeat_id = heartbeat
                    .map_or(0, |heartbeat| take_in(heartbeat, "status_report.heartbeat.stats", &mut violations));
                let report = convert::status_report_from_proto(report, "status_report", &mut violations);
                if let Some((report_id, statuses)) = report
                    && let Err(problem) = told_to.reports.put(Receipt { report_id, heartbeat_id }, statuses)
                {
                    warn!(%problem, "the session ends");
                    return said_goodbye;
                }
            }
            Some(Message::RuntimeHealth(told)) => {
                let told = convert::runtime_health_from_proto(told, "runtime_health", &mut violations);
                if told.is_some() {
                    told_to.health.send_replace(told);
                }
            }
            Some(Message::ForeignAttempts(seen)) => {
                let path = "foreign_attempts.attempts";
                if let Some(seen) = convert::foreign_attempts_from_proto(&seen.attempts, path, &mut violations) {
                    told_to.foreign.send_replace(seen);
                }
            }
            Some(Message::Drain(_)) => {
                info!("the worker asks for its node to be drained");
                told_to.drain.notify_one();
            }
            Some(Message::Goodbye(goodbye)) => {
                info!(reason = goodbye.reason, "the worker says goodbye");
                said_goodbye = true;
                contacts.said_goodbye(node_id, session_id);
                // Before what it says next: that tasks have ended, whose next attempts would be placed there once more.
                writes.going(move |draft| note_goodbye(draft, node_id)).await;
            }
            Some(Message::Away(away)) => {
                let path = "away.back_within";
                let back_within =
                    away.back_within.and_then(|time| convert::duration_from_proto(time, path, &mut violations));
                if let Some(back_within) = back_within {
                    info!(?back_within, "the worker goes and leaves its tasks running");
                    contacts.goes_away(node_id, session_id, back_within);
                    // Its last word: no heartbeat comes after it that could not wait, and its session ends when it is written.
                    writes.going(move |draft| note_away(draft, node_id, back_within)).await;
                }
            }
            Some(Message::Register(_)) => violations.add("register", "comes once, as the first message"),
            None => violations.add("message", "is needed"),
        }
        if !violations.is_empty() {
            warn!(%violations, "the worker sent something wrong; it is ignored");
        }
    }
}
