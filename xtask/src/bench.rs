//! Measurements, by the package davit-bench.

use std::process::Command;

use crate::{
    failure::Failure,
    shell::{capture, cargo, command, run},
    workspace,
};

/// `cargo xtask bench`: builds what is measured and what measures, optimised, and runs it with the caller's arguments. Its
/// last line, which is for programs, is the last one of the recipe too.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    run(&mut build())?;
    run(command(workspace::target().join("release/davit-bench")).args(arguments))
        .map_err(|failure| failure.advise("the lines above say what is not as it has to be"))
}

/// Small measurements, whose figures say nothing: that they still find all that they look for.
const SMALL: [&str; 3] = [
    "cluster --nodes 60 --tasks 500 --churn-seconds 2",
    "idle --nodes 20 --seconds 1",
    "api --nodes 5 --tasks 200 --watchers 20 --seconds 1",
];

/// The step of `cargo xtask test`: measures programs of the development profile.
pub(crate) fn test() -> Result<(), Failure> {
    for arguments in SMALL {
        println!("\n-- davit-bench {arguments}");
        run(command(workspace::target().join("debug/davit-bench")).args(arguments.split(' ')))
            .map_err(|failure| failure.advise("the lines above say what is not as it has to be"))?;
    }
    Ok(())
}

/// What builds both, in one go: built one after the other they could choose different features of what they share. What measures
/// keeps the commit, to put it beside its figures: the checkout may be another one by the time it runs.
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
    if let Some(commit) = capture(command("git").args(["describe", "--always", "--dirty", "--exclude=*"])) {
        cargo.env("DAVIT_COMMIT", commit);
    }
    cargo
}
