//! What the `main` of every service does in the same way: binding its ports and telling how it ended.

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::config::ConfigError;

/// How a program went.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Binds the address that stands under a key of the configuration.
///
/// # Errors
/// Names the key and the address.
pub async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, ConfigError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|problem| ConfigError::invalid(key, address, format!("can't listen: {problem}")))
}

/// For blocking work that is under way at the end, such as a write to a disk that hangs.
const LAST_WORK_TIME: Duration = Duration::from_secs(1);

/// A thread takes every other task from the queue that all share, where it has others: what is woken from outside, or finds a
/// thread's own queue full, would wait there until that thread has nothing else to do.
const EVERY_OTHER: u32 = 2;

/// Runs a program on all cores. Its end is not held up by blocking work that does not end.
///
/// # Errors
/// What the program ended with, or that no threads can be started.
pub fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().global_queue_interval(EVERY_OTHER).build()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORK_TIME);
    outcome
}

/// Turns the outcome of a program into its exit code; tells on standard error what went wrong, with all causes, since there
/// may be no log yet.
#[must_use]
pub fn exit(program: &str, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if even this can't be written.
            let _ = writeln!(std::io::stderr(), "{program}: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each told once: some errors tell of their cause themselves.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_cause_is_told_once() {
        let layer = |text, source| Layer { text, source };
        let error = layer("top: middle", Some(Box::new(layer("middle", Some(Box::new(layer("bottom", None)))))));
        assert_eq!(with_causes(&error), "top: middle: bottom");
    }

    #[test]
    fn blocking_work_that_hangs_does_not_hold_up_the_end() {
        let (hangs, never) = std::sync::mpsc::channel::<()>();
        block_on(async move {
            tokio::task::spawn_blocking(move || never.recv());
            Ok(())
        })
        .unwrap();
        // It still hangs: its end of the channel is there.
        hangs.send(()).unwrap();
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_with_its_key() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let told = bind("http-listen", address).await.unwrap_err().to_string();
        assert!(told.contains("http-listen") && told.contains(&address.to_string()), "{told}");
    }
}
