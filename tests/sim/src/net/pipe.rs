//! One direction of a connection.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

/// Bytes that may be under way; beyond, the writer waits.
const WINDOW_BYTES: usize = 256 << 10;
/// How much of a connection is kept to be played again.
const RECORDED_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Pipe {
    chunks: VecDeque<Chunk>,
    under_way: usize,
    last_due: Option<Instant>,
    /// Nothing arrives before this time.
    pub(super) held_until: Option<Instant>,
    is_reset: bool,
    /// What is written vanishes.
    is_dark: bool,
    is_ended: bool,
    reader_gone: bool,
    pub(super) recorded: Vec<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Chunk {
    due: Instant,
    /// Empty: the writer's end.
    bytes: Vec<u8>,
    read: usize,
}

/// What a reader is to do.
pub(super) enum Read {
    Ready(io::Result<()>),
    WaitUntil(Instant),
    Wait,
}

impl Pipe {
    pub(super) fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    pub(super) fn reset(&mut self) {
        self.is_reset = true;
        self.chunks.clear();
        self.wake();
    }

    /// As [`Pipe::reset`], but only for whoever reads; the writer sees nothing.
    pub(super) fn reset_reader(&mut self) {
        self.go_dark();
        self.is_reset = true;
        self.wake();
    }

    pub(super) fn go_dark(&mut self) {
        self.is_dark = true;
        self.chunks.clear();
        self.under_way = 0;
        self.wake();
    }

    pub(super) fn reader_gone(&mut self) {
        self.reader_gone = true;
        self.wake();
    }

    pub(super) fn is_over(&self) -> bool {
        self.reader_gone && self.is_ended
    }

    pub(super) fn poll_write(&mut self, cx: &Context<'_>, bytes: &[u8], latency: Duration) -> Poll<io::Result<usize>> {
        if self.is_dark {
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.is_reset || self.reader_gone {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")));
        }
        let room = WINDOW_BYTES.saturating_sub(self.under_way);
        if room == 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = &bytes[..bytes.len().min(room)];
        let free = RECORDED_BYTES.saturating_sub(self.recorded.len());
        self.recorded.extend_from_slice(&taken[..taken.len().min(free)]);
        self.push(taken.to_vec(), latency);
        Poll::Ready(Ok(taken.len()))
    }

    /// The writer has ended.
    pub(super) fn end(&mut self, latency: Duration) {
        if !self.is_ended {
            self.is_ended = true;
            if !self.is_dark && !self.is_reset {
                self.push(Vec::new(), latency);
            }
        }
    }

    fn push(&mut self, bytes: Vec<u8>, latency: Duration) {
        let due = self.last_due.map_or(Instant::now() + latency, |last| last.max(Instant::now() + latency));
        self.last_due = Some(due);
        self.under_way += bytes.len();
        self.chunks.push_back(Chunk { due, bytes, read: 0 });
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn poll_read(&mut self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>, is_cut: bool) -> Read {
        if self.is_reset {
            return Read::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")));
        }
        self.reader = Some(cx.waker().clone());
        let now = Instant::now();
        if let Some(until) = self.held_until {
            if now < until {
                return Read::WaitUntil(until);
            }
            self.held_until = None;
        }
        if is_cut {
            return Read::Wait;
        }
        let Some(head) = self.chunks.front() else { return Read::Wait };
        if head.due > now {
            return Read::WaitUntil(head.due);
        }
        if head.bytes.is_empty() {
            return Read::Ready(Ok(()));
        }
        while buffer.remaining() > 0
            && let Some(head) = self.chunks.front_mut().filter(|head| head.due <= now && !head.bytes.is_empty())
        {
            let count = buffer.remaining().min(head.bytes.len() - head.read);
            buffer.put_slice(&head.bytes[head.read..head.read + count]);
            head.read += count;
            self.under_way -= count;
            if head.read == head.bytes.len() {
                self.chunks.pop_front();
            }
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Read::Ready(Ok(()))
    }
}
