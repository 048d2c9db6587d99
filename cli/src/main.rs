//! The `davit` binary: reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser as _;
use davit_cli::args::{Cli, usage_error_code};
use worker_svc::reexec;

fn main() -> ExitCode {
    // `davit dev` hosts workers, which run this program again beside them.
    if let Some(code) = reexec::run_hidden() {
        return code;
    }
    match Cli::try_parse() {
        Ok(cli) => davit_cli::main(cli),
        Err(error) => {
            // Where that can't be written nobody is left to be told.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(usage_error_code(std::env::args_os())) } else { ExitCode::SUCCESS }
        }
    }
}
