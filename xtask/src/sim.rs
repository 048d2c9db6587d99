//! The simulator, by the package davit-sim.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    failure::Failure,
    shell::{cargo, command, run},
    workspace,
};

/// Seeds that CI runs always, and others that it runs once.
const FIXED_SEEDS: u64 = 200;
const FRESH_SEEDS: u64 = 20;

/// `cargo xtask sim`: builds the simulator and runs it with the caller's arguments. Deliberate bugs are always built in, and
/// act only where `--bugs` or `--bug` asks for them: one build serves both.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    run(cargo().args(["build", "--profile", "sim", "--package", "davit-sim", "--features", "sim-bugs"]))?;
    run(command(workspace::target().join("sim/davit-sim")).args(arguments))
        .map_err(|failure| failure.advise("the lines above name each seed that failed and the command that repeats it"))
}

/// The step of `cargo xtask test`.
pub(crate) fn test() -> Result<(), Failure> {
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH).map_or(FIXED_SEEDS, |time| time.as_secs());
    run_with(&["--seeds".to_owned(), FIXED_SEEDS.to_string()])?;
    run_with(&["--first".to_owned(), fresh.to_string(), "--seeds".to_owned(), FRESH_SEEDS.to_string()])?;
    run_with(&["--bugs".to_owned()])
}
