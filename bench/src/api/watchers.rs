//! Many who watch for created tasks.

use std::sync::Arc;

use davit_proto::v1;
use davit_proto::v1::watch_events_response::Message;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;

use super::board::Board;
use crate::error::Error;
use crate::running::client::{Client, Watch};

/// Streams of one connection.
const A_CONNECTION: u32 = 100;

/// Streams that are read. Ended when dropped.
#[derive(Debug)]
pub(super) struct Watchers {
    _reading: JoinSet<()>,
}

impl Watchers {
    /// Opens so many streams and waits until each sees all.
    pub(super) async fn open(address: &str, watchers: u32, board: &Arc<Board>) -> Result<Self, Error> {
        let mut reading = JoinSet::new();
        for connection in 0..watchers.div_ceil(A_CONNECTION) {
            let mut client = Client::new(address)?;
            for _ in 0..A_CONNECTION.min(watchers - connection * A_CONNECTION) {
                let events = client.watch(&[v1::EventType::TaskCreated]).await?;
                let board = Arc::clone(board);
                reading.spawn(async move {
                    let why = match read(events, &board).await {
                        Ok(()) => "a watch ended".to_owned(),
                        Err(status) => format!("a watch broke: {status}"),
                    };
                    board.break_off(why);
                });
            }
        }
        Ok(Self { _reading: reading })
    }
}

/// Reads until the stream ends.
async fn read(mut events: Watch, board: &Board) -> Result<(), Status> {
    while let Some(response) = events.message().await? {
        let now = Instant::now();
        if let Some(Message::Event(v1::Event { object: Some(v1::event::Object::Task(task)), .. })) = response.message
            && let Some(spec) = task.spec
        {
            board.seen(&spec.name, now);
        }
    }
    Ok(())
}
