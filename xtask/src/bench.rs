//! Measurements, by the package davit-bench.

use std::process::Command;

use crate::{
    failure::Failure,
    shell::{cargo, command, run},
    workspace,
};

/// `cargo xtask bench`: builds what is measured and what measures, optimised, and runs it with the caller's arguments. Its
/// last line, which is for programs, is the last one of the recipe too.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    run(&mut build())?;
    run(command(workspace::target().join("release/davit-bench")).args(arguments))
        .map_err(|failure| failure.advise("the lines above say what is not as it has to be"))
}

/// What builds both, in one go: built one after the other they could choose different features of what they share.
pub(crate) fn build() -> Command {
    let mut cargo = cargo();
    cargo.args([
        "build",
        "--release",
        "--package",
        "scheduler-svc",
        "--package",
        "manager-svc",
        "--package",
        "worker-svc",
        "--package",
        "davit-bench",
        "--bins",
    ]);
    cargo
}
