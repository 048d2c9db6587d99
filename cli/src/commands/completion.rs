//! `davit completion`: a script that makes a shell complete command lines.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::Error;
use crate::output::Output;

/// Arguments of `davit completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell that is to complete, for instance: davit completion bash > /etc/bash_completion.d/davit
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionArgs, output: &Output) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "davit", &mut script);
    output.print_bytes(&script)
}
