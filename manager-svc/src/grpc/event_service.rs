//! What happened, for users.

use std::sync::Arc;

use davit_core::id::Revision;
use davit_core::validate::Violations;
use davit_proto::v1;
use davit_proto::v1::event_service_server::EventService;
use davit_svc_kit::grpc::ApiError;
use tonic::{Request, Response, Status};

use super::event_convert::{EventFilter, event_to_proto};
use super::event_watch::{EventWatch, check_reach};
use super::paging::Page;
use super::{Api, Responses};
use crate::stable_hash::stable_hash;
use crate::state::Event;

/// Serves events.
#[derive(Debug, Clone)]
pub struct EventApi {
    api: Api,
}

impl EventApi {
    /// On top of what all services share.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn list(&self, request: v1::ListEventsRequest) -> Result<v1::ListEventsResponse, ApiError> {
        let v1::ListEventsRequest { after_revision, filter, page_size, page_token } = request;
        let mut violations = Violations::new();
        let filter_hash = stable_hash("ListEvents", &filter.clone().unwrap_or_default());
        let page = Page::from_proto(page_size, &page_token, filter_hash, &mut violations);
        let seen = page.as_ref().and_then(|page| read_cursor(page, &mut violations));
        let filter = EventFilter::from_proto(filter, &mut violations);
        let page = violations.finish(page)?;

        let state = self.api.writer.state();
        let after = match seen.unwrap_or_default().max(Revision(after_revision)) {
            // From the oldest kept, whichever that is.
            Revision(0) => {
                state.events().oldest().map_or(state.revision(), |oldest| Revision(oldest.0.saturating_sub(1)))
            }
            after => after,
        };
        check_reach(&state, after)?;
        let rest = state.events().after(after).into_iter().flatten();
        let cursor = |event: &&Arc<Event>| event.revision.0.to_be_bytes().to_vec();
        let (events, next_page_token) = page.take_matching(rest, |event| filter.matches(event), cursor).await;
        let events = events.into_iter().map(|event| event_to_proto(event)).collect();
        Ok(v1::ListEventsResponse { events, next_page_token, revision: state.revision().0 })
    }
}

fn read_cursor(page: &Page, violations: &mut Violations) -> Option<Revision> {
    if page.cursor.is_empty() {
        return None;
    }
    let read = page.cursor.as_slice().try_into().map(u64::from_be_bytes).ok().map(Revision);
    if read.is_none() {
        Page::bad_cursor(violations);
    }
    read
}

#[tonic::async_trait]
impl EventService for EventApi {
    type WatchEventsStream = Responses<v1::WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let v1::WatchEventsRequest { after_revision, filter } = request.into_inner();
        let mut violations = Violations::new();
        let filter = EventFilter::from_proto(filter, &mut violations);
        let filter = violations.finish(Some(filter)).map_err(ApiError::from)?;
        let shutdown = self.api.shutdown.clone();
        let watch = EventWatch::begin(self.api.writer.watch(), after_revision, filter, shutdown)?;
        Ok(Response::new(Box::pin(watch.into_stream())))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }
}
