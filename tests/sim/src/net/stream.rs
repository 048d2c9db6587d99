//! One end of a connection, as the services see it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Net;
use super::pipe::Read;

/// How long a connection that is played again stays open.
const PLAY_TIME: Duration = Duration::from_millis(700);

pub(super) struct SimStream {
    net: Net,
    id: u64,
    /// 0: it dialled. 1: it was dialled.
    side: usize,
    sleep: Pin<Box<Sleep>>,
}

impl SimStream {
    pub(super) fn new(net: Net, id: u64, side: usize) -> Self {
        Self { net, id, side, sleep: Box::pin(tokio::time::sleep_until(Instant::now())) }
    }

    fn end(&self) {
        let mut state = self.net.state.lock();
        let Some(ends) = state.connections.get(&self.id).map(|connection| connection.ends) else { return };
        let latency = state.latency(ends[self.side], ends[1 - self.side]);
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.pipes[self.side].end(latency);
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the connection is gone")
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let until = {
                let net = self.net.clone();
                let mut state = net.state.lock();
                let Some(connection) = state.connections.get(&self.id) else { return Poll::Ready(Err(gone())) };
                let is_cut = state.is_cut(connection.ends[1 - self.side], connection.ends[self.side]);
                let Some(connection) = state.connections.get_mut(&self.id) else { return Poll::Ready(Err(gone())) };
                match connection.pipes[1 - self.side].poll_read(cx, buffer, is_cut) {
                    Read::Ready(done) => return Poll::Ready(done),
                    Read::Wait => return Poll::Pending,
                    Read::WaitUntil(until) => until,
                }
            };
            self.sleep.as_mut().reset(until);
            match self.sleep.as_mut().poll(cx) {
                Poll::Ready(()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.net.state.lock();
        let Some(ends) = state.connections.get(&self.id).map(|connection| connection.ends) else {
            return Poll::Ready(Err(gone()));
        };
        let latency = state.latency(ends[self.side], ends[1 - self.side]);
        let Some(connection) = state.connections.get_mut(&self.id) else { return Poll::Ready(Err(gone())) };
        connection.pipes[self.side].poll_write(cx, bytes, latency)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.end();
        let mut state = self.net.state.lock();
        let Some(connection) = state.connections.get_mut(&self.id) else { return };
        connection.pipes[1 - self.side].reader_gone();
        if connection.pipes.iter().all(super::Pipe::is_over)
            && let Some(connection) = state.connections.remove(&self.id)
        {
            let [spoken, _] = connection.pipes;
            state.record(connection.ends[0], &spoken.recorded);
        }
    }
}

/// Says what was said once, and hears nothing.
pub(super) async fn play(mut stream: SimStream, bytes: Vec<u8>) {
    let listen = async {
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        let mut sink = [0; 4096];
        while let Ok(1..) = stream.read(&mut sink).await {}
    };
    // Its end is as sudden as that of any connection that breaks.
    let _ = tokio::time::timeout(PLAY_TIME, listen).await;
}
