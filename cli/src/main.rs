//! The `davit` binary: reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser as _;
use davit_cli::args::Cli;
use worker_svc::reexec;

fn main() -> ExitCode {
    // `davit dev` hosts workers, which run this program again beside them.
    if let Some(code) = reexec::run_hidden() {
        return code;
    }
    davit_cli::main(Cli::parse())
}
