//! The images, built without a registry by deploy/build-images.sh.

use crate::{
    failure::Failure,
    machine::Machine,
    shell::{command, run},
};

const SCRIPT: &str = "deploy/build-images.sh";

/// `cargo xtask images`: the script with the caller's arguments.
pub(crate) fn build(arguments: &[String]) -> Result<(), Failure> {
    run(command("bash").arg(SCRIPT).args(arguments))
}

/// The step of `test`: takes the programs of the build step as they are.
pub(crate) fn from_build(machine: &Machine) -> Result<(), Failure> {
    run(command("bash").arg(SCRIPT).args(["--no-build"]).envs(machine.environment()))
        .map_err(|failure| failure.advise("see the lines above; `cargo xtask images` runs this step alone"))
}
