//! The machine's own engine behind a socket that can fall silent, as that of an engine that hangs: for one worker, and nobody else.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::engine::host_socket;

/// A socket that leads to the machine's own engine.
#[derive(Debug)]
pub struct SilentEngine {
    dir: TempDir,
    silent: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl SilentEngine {
    /// One that answers, until it is told otherwise.
    ///
    /// # Panics
    /// When there is no room for a socket.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(socket(dir.path())).expect("a socket");
        let silent = watch::Sender::new(false);
        let heard = silent.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, heard.clone()));
            }
        });
        Self { dir, silent, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// From now on it takes connections and requests, and answers none.
    pub fn fall_silent(&self) {
        self.silent.send_replace(true);
    }

    /// It answers again, also what it was asked meanwhile.
    pub fn answer(&self) {
        self.silent.send_replace(false);
    }
}

impl Drop for SilentEngine {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("sock")
}

async fn carry(near: UnixStream, silent: watch::Receiver<bool>) {
    let Ok(far) = UnixStream::connect(host_socket()).await else { return };
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    tokio::join!(pass(from_near, to_far, silent.clone()), pass(from_far, to_near, silent));
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut silent: watch::Receiver<bool>) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    // The other side has to learn of the end; where it is gone there is nobody to tell.
    let _ = to.shutdown().await;
}
