//! Starts the manager's program on a store.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::error::Error;
use crate::memory::{self, Memory};
use crate::started::Process;

/// It is asked so often whether it is ready.
const POLL: Duration = Duration::from_millis(5);
/// It is given up after this.
const HANG: Duration = Duration::from_secs(120);

/// Starts it, waits until it says that it is ready, and kills it. Says how long that took, and what it used.
pub(super) async fn start(program: &Path, data_dir: &Path) -> Result<(Duration, Memory), Error> {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr());
    let not_started = |source| Error::NotStarted { path: program.to_owned(), source };
    let (listen, http) = (free().map_err(not_started)?, free().map_err(not_started)?);
    let began = Instant::now();
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--listen", &listen.to_string(), "--http-listen", &http.to_string(), "--log", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut process = Process::spawn(&mut command, "davit-manager").map_err(not_started)?;
    loop {
        if davit_svc_kit::http::check_ready(http).await.is_ok() {
            break;
        }
        if let Some(status) = process.try_wait().map_err(not_started)? {
            return Err(Error::WrongAnswer(format!("the manager ended instead of serving: {status}")));
        }
        if began.elapsed() > HANG {
            return Err(Error::Hangs(HANG));
        }
        tokio::time::sleep(POLL).await;
    }
    let ready = began.elapsed();
    let used = memory::of_process(process.id().unwrap_or_default())?;
    process.kill().await.map_err(not_started)?;
    Ok((ready, used))
}
