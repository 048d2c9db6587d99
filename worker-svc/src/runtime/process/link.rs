//! The line to one supervisor: orders go down, the end and the growth of the log come up.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_svc_kit::backoff::Backoff;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, watch};

use super::contract::{self, ExitRecord};
use super::launch::{self, Found};
use super::log_write::LogHead;
use crate::runtime::SharedClock;

/// A process is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StopOrder {
    pub(super) signal: &'static str,
    pub(super) grace: Duration,
}

/// One end of the line.
pub(super) struct Link {
    pub(super) key: AttemptKey,
    pub(super) dir: PathBuf,
    pub(super) orders: mpsc::Receiver<StopOrder>,
    pub(super) log: watch::Sender<LogHead>,
    /// Ticks when somebody begins to follow the log.
    pub(super) followed: std::sync::Arc<Notify>,
    pub(super) clock: SharedClock,
}

type Reader = Lines<BufReader<OwnedReadHalf>>;

impl Link {
    /// Follows the process to its end, through a change of supervisor's connections if need be.
    pub(super) async fn until_end(mut self, stream: UnixStream) -> ExitRecord {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut next = Some(stream);
        let exit = loop {
            if let Some(stream) = next.take()
                && let Some(exit) = self.listen(stream).await
            {
                break exit;
            }
            match launch::look(&self.dir, self.key, &self.clock).await {
                Ok(Found::Exited(exit)) => break exit,
                Ok(Found::Running(_, stream)) => next = Some(stream),
                Ok(Found::Created) => break self.without_record(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break self.without_record(),
                Err(error) => tracing::warn!(key = %self.key, %error, "can't learn how a process ended; trying again"),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        };
        let dir = self.dir.clone();
        let generation = self.log.borrow().generation;
        let head = contract::blocking(move || super::log_write::closed_head(&dir)).await;
        self.log.send_replace(head.unwrap_or(LogHead { generation, len: 0, closed: true }));
        exit
    }

    /// Somebody took its directory away.
    fn without_record(&self) -> ExitRecord {
        launch::ended_somehow(&self.dir, "its directory was removed while it ran", &self.clock)
    }

    /// Until the supervisor tells the end, or hangs up without.
    async fn listen(&mut self, stream: UnixStream) -> Option<ExitRecord> {
        let (read, mut write) = stream.into_split();
        let mut lines: Reader = BufReader::new(read).lines();
        let mut asked = false;
        loop {
            if !asked && self.log.receiver_count() > 0 {
                let LogHead { generation, len, .. } = *self.log.borrow();
                asked = true;
                send(&mut write, &format!("beyond {generation} {len}\n")).await.ok()?;
            }
            tokio::select! {
                line = lines.next_line() => match line.ok()??.split_once(' ') {
                    Some(("exited", json)) => return serde_json::from_str(json).ok(),
                    Some(("head", place)) => {
                        asked = false;
                        if let Some(head) = parse_head(place) {
                            self.log.send_replace(head);
                        }
                    }
                    // A word that a newer supervisor knows.
                    _ => {}
                },
                Some(order) = self.orders.recv() => {
                    let line = format!("stop {} {}\n", order.signal, order.grace.as_millis());
                    send(&mut write, &line).await.ok()?;
                }
                () = self.followed.notified() => {}
            }
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, line: &str) -> io::Result<()> {
    write.write_all(line.as_bytes()).await
}

pub(super) fn parse_head(text: &str) -> Option<LogHead> {
    let (generation, len) = text.split_once(' ')?;
    Some(LogHead { generation: generation.parse().ok()?, len: len.parse().ok()?, closed: false })
}
