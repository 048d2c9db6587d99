//! The `davit` binary: reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser as _;
use davit_cli::args::Cli;

fn main() -> ExitCode {
    davit_cli::main(Cli::parse())
}
