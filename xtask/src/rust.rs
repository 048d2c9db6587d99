//! Steps on the Rust code.

use crate::{
    failure::Failure,
    machine::Machine,
    shell::{cargo, run, succeeds},
};

/// `cargo fmt --check`.
pub(crate) fn fmt() -> Result<(), Failure> {
    run(cargo().args(["fmt", "--all", "--check"])).map_err(|failure| failure.advise("run `cargo fmt --all`"))
}

/// `cargo clippy`, where a warning is an error.
pub(crate) fn clippy() -> Result<(), Failure> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        .map_err(|failure| failure.advise("mend the code that the lints above point at"))
}

/// Programs and tests in one go: with the same features chosen, nothing is compiled twice for the images and the tests.
pub(crate) fn build() -> Result<(), Failure> {
    run(cargo().args(["build", "--workspace", "--bins", "--tests", "--examples"]))
}

/// Every test but those in the documentation.
pub(crate) fn tests(machine: &Machine) -> Result<(), Failure> {
    let mut command = cargo();
    if succeeds(cargo().args(["nextest", "--version"])) {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        println!("cargo-nextest is not installed: the same tests run under `cargo test`, one program after the other");
        command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"]);
    }
    run(command.envs(machine.environment())).map_err(|failure| {
        failure.advise("the failed tests are named above; run one again with `cargo test -p PACKAGE NAME`")
    })
}

/// The examples in the documentation.
pub(crate) fn doc_tests() -> Result<(), Failure> {
    run(cargo().args(["test", "--workspace", "--doc"]))
}

/// The rules of deny.toml.
pub(crate) fn deny(machine: &Machine) -> Result<(), Failure> {
    let Some(path) = machine.cargo_deny() else {
        println!("NOT CHECKED: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    };
    // Straight, not through cargo: the tools' folder is not on the PATH.
    run(crate::shell::command(path)
        .args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
        .env("CARGO", cargo().get_program()))
    .map_err(|failure| failure.advise("choose another dependency, or argue for a change of deny.toml"))
}
