//! The Davit command line: people and scripts talk to a manager with it.
//!
//! Commands fetch messages of the API and hand them to pure functions that render them, so that what is shown is tested
//! without a server. Everything is written through [`output::Output`], which ends quietly when nobody reads any more.

pub mod args;
pub mod client;
pub mod commands;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod local;
pub mod output;
pub mod resolve;
mod retry;
mod rollout;
mod watch;

use std::process::ExitCode;

use crate::args::Cli;
use crate::error::Error;
use crate::output::Output;

/// Runs one command to its end, and tells how it went.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let output = Output::new(cli.global.output);
    let error_code = cli.command.error_code();
    let done = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let done = runtime.block_on(commands::run(cli, &output));
            // A thread that waits for a key or a name lookup must not hold up the end.
            runtime.shutdown_background();
            done
        }
        Err(source) => Err(Error::Io { action: "start the runtime", source }),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Error::OutputClosed) => ExitCode::SUCCESS,
        Err(error) => {
            output.complain(&error.to_string());
            ExitCode::from(error_code.unwrap_or_else(|| error.exit_code()))
        }
    }
}
