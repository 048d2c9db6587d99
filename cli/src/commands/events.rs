//! `davit events`: what happened, and with `-f` what happens.

use clap::Args;
use davit_proto::v1;
use davit_proto::v1::watch_events_response::Message;
use futures::StreamExt as _;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::client::{Manager, backoff, call};
use crate::error::Error;
use crate::output::{Output, event_line};
use crate::resolve::{self, Purpose};
use crate::retry::{Tries, may_pass};

const PAGE_SIZE: u32 = 1000;

/// Arguments of `davit events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// Events after this revision; 0: from the oldest kept. With --follow only new events unless given
    #[arg(long, value_name = "REVISION")]
    since: Option<u64>,
    /// Only what happens to this task
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only what happens to this node, and to tasks on it
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

pub(super) async fn run(manager: &Manager, args: EventsArgs, output: &Output) -> Result<(), Error> {
    let mut filter = v1::EventFilter::default();
    if let Some(reference) = &args.task {
        filter.task_id = resolve::task(manager, reference, Purpose::Read).await?.task_id;
    }
    if let Some(reference) = &args.node {
        filter.node_id = resolve::node(manager, reference).await?.node_id;
    }
    if args.follow {
        follow(manager, filter, args.since, output).await
    } else {
        list(manager, filter, args.since.unwrap_or_default(), output).await
    }
}

fn show(event: &v1::Event, output: &Output) -> Result<(), Error> {
    output.item(event, |palette| event_line(event, palette))
}

async fn list(manager: &Manager, filter: v1::EventFilter, since: u64, output: &Output) -> Result<(), Error> {
    let mut page_token = String::new();
    loop {
        let request = v1::ListEventsRequest {
            after_revision: since,
            filter: Some(filter.clone()),
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = manager.repeat(async || manager.events().list_events(call(request.clone())).await).await?;
        for event in &page.events {
            show(event, output)?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// Goes on until it is interrupted or nobody reads any more. A manager that restarts is waited for.
async fn follow(manager: &Manager, filter: v1::EventFilter, since: Option<u64>, output: &Output) -> Result<(), Error> {
    let mut seen = since;
    let mut tries = Tries::new(backoff());
    loop {
        let before = seen;
        let broken = follow_once(manager, &filter, &mut seen, output).await?;
        if seen != before {
            tries.reset();
        }
        let is_first = tries.is_first();
        let wait = if may_pass(&broken) { tries.next_wait(Some(&broken), Instant::now()) } else { None };
        let Some(wait) = wait else { return Err(manager.error(broken)) };
        if is_first {
            output.note(&format!("waiting to go on with the events: {}", manager.error(broken).without_advice()));
        }
        tokio::time::sleep(wait).await;
    }
}

/// Shows events until the stream breaks, and tells why it did.
async fn follow_once(
    manager: &Manager,
    filter: &v1::EventFilter,
    seen: &mut Option<u64>,
    output: &Output,
) -> Result<Status, Error> {
    let request = v1::WatchEventsRequest { after_revision: *seen, filter: Some(filter.clone()) };
    let mut events = match manager.events().watch_events(Request::new(request)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Ok(status),
    };
    while let Some(message) = events.next().await {
        match message {
            Err(status) => return Ok(status),
            Ok(message) => match message.message {
                Some(Message::Event(event)) => {
                    *seen = Some(event.revision);
                    show(&event, output)?;
                }
                Some(Message::Bookmark(bookmark)) => *seen = Some(bookmark.revision),
                None => {}
            },
        }
    }
    Ok(Status::unavailable("the manager ended the watch"))
}
