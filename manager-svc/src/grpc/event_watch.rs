//! One reader's way through the log of events. It reads the log that all share and keeps only its place in it, so a slow
//! reader costs nothing until the log has moved past it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::Revision;
use davit_proto::v1;
use davit_proto::v1::watch_events_response::Message;
use davit_svc_kit::grpc::{ApiError, ErrorKind};
use davit_svc_kit::shutdown::Shutdown;
use futures::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::errors::stopping;
use super::event_convert::{EventFilter, event_to_proto};
use crate::state::{ClusterState, Compacted, Event};

/// A stream that was quiet for so long says how far it is.
const QUIET: Duration = Duration::from_secs(5);
/// Events that are looked at in one go.
const CHUNK: usize = 256;

/// One reader's place.
pub(super) struct EventWatch {
    states: watch::Receiver<Arc<ClusterState>>,
    filter: EventFilter,
    shutdown: Shutdown,
    /// Everything up to here was looked at.
    position: Revision,
    /// Looked at, passed the filter, not yet sent.
    found: VecDeque<Arc<Event>>,
    started: bool,
    last_sent: Instant,
}

impl EventWatch {
    /// Begins after a revision.
    ///
    /// # Errors
    /// When the log does not reach back to it, or the cluster is not yet at it.
    pub(super) fn begin(
        mut states: watch::Receiver<Arc<ClusterState>>,
        after: Option<u64>,
        filter: EventFilter,
        shutdown: Shutdown,
    ) -> Result<Self, ApiError> {
        let state = Arc::clone(&states.borrow_and_update());
        let position = after.map_or(state.revision(), Revision);
        check_reach(&state, position)?;
        let last_sent = Instant::now();
        Ok(Self { states, filter, shutdown, position, found: VecDeque::new(), started: false, last_sent })
    }

    /// The messages, as the reader asks for them. Ends after an error.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send {
        stream::unfold(Some(self), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(message) => {
                    watch.last_sent = Instant::now();
                    Some((Ok(v1::WatchEventsResponse { message: Some(message) }), Some(watch)))
                }
                Err(error) => Some((Err(error.into()), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Message, ApiError> {
        if !std::mem::replace(&mut self.started, true) {
            return Ok(self.bookmark());
        }
        loop {
            // A reader that is far behind does not hold up the manager's end.
            if self.shutdown.is_triggered() {
                return Err(stopping());
            }
            if let Some(event) = self.found.pop_front() {
                return Ok(Message::Event(event_to_proto(&event)));
            }
            if self.look_further()? {
                // There may be more; others get their turn in between.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.shutdown.triggered() => return Err(stopping()),
                changed = self.states.changed() => changed.map_err(|_| stopping())?,
                () = tokio::time::sleep_until(self.last_sent + QUIET) => return Ok(self.bookmark()),
            }
        }
    }

    /// Looks at the next events. False when there was none.
    fn look_further(&mut self) -> Result<bool, ApiError> {
        let state = Arc::clone(&self.states.borrow_and_update());
        let before = self.position;
        for event in state.events().after(before).map_err(|compacted| too_slow(&compacted))?.take(CHUNK) {
            self.position = event.revision;
            if self.filter.matches(event) {
                self.found.push_back(Arc::clone(event));
            }
        }
        Ok(self.position > before)
    }

    fn bookmark(&self) -> Message {
        Message::Bookmark(v1::Bookmark { revision: self.position.0 })
    }
}

/// Whether events after a revision can be had.
///
/// # Errors
/// `OUT_OF_RANGE` when the log does not reach back to it, or the cluster is not yet at it.
pub(super) fn check_reach(state: &ClusterState, after: Revision) -> Result<(), ApiError> {
    if after > state.revision() {
        let now = state.revision();
        let message =
            format!("the cluster is at revision {now}, {after} is yet to come; list anew, then watch from there");
        return Err(ApiError::new(ErrorKind::OutOfRange, "REVISION_IS_AHEAD", message)
            .with_metadata("oldest_revision", oldest(state).to_string())
            .with_metadata("revision", now.to_string()));
    }
    match state.events().after(after) {
        Ok(_) => Ok(()),
        Err(compacted) => {
            let message = format!("{compacted}; list anew, then watch from the list's revision");
            Err(ApiError::new(ErrorKind::OutOfRange, "REVISION_IS_COMPACTED", message)
                .with_metadata("oldest_revision", compacted.oldest.to_string()))
        }
    }
}

fn oldest(state: &ClusterState) -> Revision {
    state.events().oldest().unwrap_or_else(|| state.revision().next())
}

fn too_slow(compacted: &Compacted) -> ApiError {
    let message =
        format!("this watch was read too slowly: {compacted}; list anew, then watch from the list's revision");
    ApiError::new(ErrorKind::ResourceExhausted, "WATCH_TOO_SLOW", message)
        .with_metadata("last_revision", compacted.asked.to_string())
        .with_metadata("oldest_revision", compacted.oldest.to_string())
}
