//! Signals: the first one ends what was started, the second one is only told, for `timeout` and terminals may send two, and the
//! third one gives up.

use std::io;

use davit_svc_kit::shutdown::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

use crate::started;

/// The exit code of a program that was interrupted.
pub(crate) const EXIT_CODE: u8 = 130;

/// What is done about a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Stop,
    Tell,
    GiveUp,
}

impl Step {
    /// By how many came before.
    fn after(signals: u32) -> Self {
        match signals {
            0 => Self::Stop,
            1 => Self::Tell,
            _ => Self::GiveUp,
        }
    }
}

/// Set off by SIGINT and SIGTERM.
pub(crate) fn watch() -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::new();
    let trigger = shutdown.clone();
    tokio::spawn(async move {
        for signals in 0.. {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            match Step::after(signals) {
                Step::Stop => {
                    println!("{name}: cleaning up");
                    trigger.trigger();
                    // What computes hears of no signal, and has nothing to clean up.
                    started::exit_if_none(EXIT_CODE);
                }
                Step::Tell => println!("{name}: still cleaning up; another signal leaves behind what is left"),
                Step::GiveUp => {
                    println!("{name}: giving up");
                    started::exit_now(EXIT_CODE);
                }
            }
        }
    });
    Ok(shutdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_signal_gives_up() {
        assert_eq!([0, 1, 2, 3].map(Step::after), [Step::Stop, Step::Tell, Step::GiveUp, Step::GiveUp]);
    }
}
