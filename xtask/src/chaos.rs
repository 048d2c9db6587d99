//! The torture of a real cluster, by the package davit-chaos.

use crate::{
    failure::Failure,
    machine::Machine,
    shell::{cargo, command, run},
    workspace,
};

/// How long the step of `cargo xtask test` tortures.
const MINUTES_IN_TEST: &str = "2";

/// `cargo xtask chaos`: builds the services and what tortures them, and runs it with the caller's arguments.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    // Figures are of optimized programs; what is to find bugs keeps the checks of the development profile.
    let measures = arguments.first().is_some_and(|argument| argument == "measure");
    let (profile, folder): (&[&str], _) = if measures { (&["--release"], "release") } else { (&[], "debug") };
    let packages = ["manager-svc", "scheduler-svc", "worker-svc", "davit-chaos"];
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    // In one go: built one after the other they could choose different features of what they share.
    run(cargo().args(["build", "--bins"]).args(profile).args(packages))?;
    run(command(workspace::target().join(folder).join("davit-chaos")).args(arguments))
        .map_err(|failure| failure.advise("the lines above name the seed, what is wrong, and where the logs are kept"))
}

/// The step of `cargo xtask test`: needs the tools of the prepared machine, its engine not.
pub(crate) fn test(_machine: &Machine) -> Result<(), Failure> {
    run_with(&["--minutes".to_owned(), MINUTES_IN_TEST.to_owned()])
}
