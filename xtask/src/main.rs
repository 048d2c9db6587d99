//! Davit's recipes: `cargo xtask test`, `cargo xtask images`, `cargo xtask bench`, `cargo xtask profile`, `cargo xtask sim`,
//! `cargo xtask chaos` and `cargo xtask fuzz`.
//!
//! A recipe runs named steps one after the other, shows every command before it runs and how long each step took, and
//! stops at the first failure with what to do about it. Nothing is skipped without a line that says so.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a recipe talks to the person who runs it")]
#![allow(clippy::disallowed_methods, reason = "a recipe measures wall-clock time; it decides nothing")]

mod bench;
mod chaos;
mod cleanup;
mod failure;
mod fuzz;
mod images;
mod machine;
mod profile;
mod proto;
mod rust;
mod shell;
mod sim;
mod steps;
mod workspace;

use std::process::ExitCode;

use crate::{failure::Failure, steps::TestOptions};

const USAGE: &str = "\
Davit's recipes.

    cargo xtask test [--no-install] [--only STEP]...
        Everything that has to hold: formatting, lints, the API's compatibility, dependency rules, and every test, those
        with real containers included. As root on Debian it installs and starts what is missing; elsewhere, or with
        --no-install, it names what is missing and fails.

    cargo xtask images [ARGUMENT]...
        Builds the images without pulling any; the arguments are those of deploy/build-images.sh.

    cargo xtask bench scheduler [OPTION]...
        Measures placements per second, memory and how densely is packed; `--quick` in less than two minutes, `--nodes N
        --tasks N --shapes like|100|all --algorithm NAME --constraints` one cell alone, `--help` all options. The last line is
        one JSON object. See docs/benchmarks.md.

    cargo xtask bench cluster [--nodes N] [--tasks N] [--churn-seconds N]
        Runs whole clusters of hollow nodes with durable stores and measures how long it takes until all tasks are RUNNING, what
        that costs, and what follows while tasks come and go, a node dies, the manager dies, and everything is stopped; one
        cell with both numbers, one row of the grid with one. See docs/benchmarks.md.

    cargo xtask bench chart FILE.json... [--output FILE.svg]
        Draws what `cluster` measured.

    cargo xtask bench engine [--containers N] [--rounds N] [--singles N] [--socket SOCKET]
        Starts and stops real containers by Davit, by the engine's bare API, by Swarm mode and by docker run, in turns, on an
        engine of its own (as root, where dockerd is installed) or on the one behind a socket. See docs/benchmarks.md.

    cargo xtask bench idle [--nodes N] [--seconds N]
        Tells what memory and processor time each program uses while nothing goes on: alone, with three ordinary nodes, and
        with many hollow ones. See docs/benchmarks.md.

    cargo xtask bench api [--nodes N] [--tasks N] [--watchers N]
        Finds how many requests a manager answers in an open loop, how quickly, and how quickly all watchers have an event.
        See docs/benchmarks.md.

    cargo xtask bench cells [--cells N] [--nodes N] [--tasks N] [--seed N]
        Simulates many clusters under one API with the real placement code: 100,000 nodes in 10 cells, against one engine with
        all of them. See docs/scale.md.

    cargo xtask bench store
        Fills a store with a million tasks and measures how fast that goes and how long a manager takes to start on it. See
        docs/reliability.md.

    cargo xtask profile SUBJECT [OPTION]...
        The same as `bench`, under perf, by programs with frame pointers and names: where processor time goes, by process, crate
        and function. All of it stays in target/profile-<date>. See docs/benchmarks.md.

    cargo xtask profile report FOLDER [--phase NAME]
        Tells that again, or of one phase of the measurement alone.

    cargo xtask sim [OPTION]...
        Simulates whole clusters under faults, one from each seed, and checks Davit's promises: `--seeds 2000`, `--seed N
        --trace` one with all that happens, `--bugs` that deliberate bugs are found. See tests/sim/README.md.

    cargo xtask chaos [OPTION]...
        Kills, stops, cuts off and fills a cluster of real processes, networks, engines and disks, and checks Davit's promises:
        `--minutes 10`, `--seed N`, `--only KIND`, `--help` all options. Needs root. See docs/reliability.md.

    cargo xtask fuzz [--runs N] [TARGET]...
        Gives each fuzz target N random inputs, 1000000 unless told otherwise, and prints a table. Needs cargo-fuzz and a C++
        compiler. See fuzz/README.md.

Steps of `test`, in their order:
";

fn main() -> ExitCode {
    match recipe(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn recipe(mut arguments: Vec<String>) -> Result<(), Failure> {
    let is_help = |argument: &String| argument == "--help" || argument == "-h";
    // After these it asks for their options.
    if arguments.first().is_none_or(is_help)
        || (!["bench", "sim", "chaos"].contains(&arguments[0].as_str()) && arguments.iter().any(is_help))
    {
        println!("{USAGE}{}", steps::list());
        return Ok(());
    }
    let rest = arguments.split_off(1);
    match arguments[0].as_str() {
        "test" => steps::test(&TestOptions::parse(rest)?),
        "images" => images::build(&rest),
        "bench" => bench::run_with(&rest),
        "profile" => profile::run_with(&rest),
        "sim" => sim::run_with(&rest),
        "chaos" => chaos::run_with(&rest),
        "fuzz" => fuzz::run_with(&rest),
        other => Err(Failure::new(format!("there is no recipe `{other}`"), "see `cargo xtask --help`")),
    }
}
