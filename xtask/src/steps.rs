//! The steps of `cargo xtask test`: their order, what each needs, and how they are run.

use std::time::{Duration, Instant};

use crate::{
    bench, chaos, cleanup,
    failure::Failure,
    images,
    machine::{self, Machine},
    proto, rust, sim,
};

/// One step: what it is for, and what runs.
struct Step {
    name: &'static str,
    what: &'static str,
    run: Run,
}

/// A step either gets by with what `cargo` ships, or needs the prepared machine.
enum Run {
    Plain(fn() -> Result<(), Failure>),
    Prepared(fn(&Machine) -> Result<(), Failure>),
}

/// The name of the first step, which prepares the machine for those that need it.
const PREREQUISITES: &str = "prerequisites";

const STEPS: [Step; 13] = [
    Step { name: "fmt", what: "the formatting of the Rust code", run: Run::Plain(rust::fmt) },
    Step { name: "proto-lint", what: "the style of the API", run: Run::Prepared(proto::lint) },
    Step { name: "proto-format", what: "the formatting of the API", run: Run::Prepared(proto::format) },
    Step { name: "proto-breaking", what: "that the API breaks no client", run: Run::Prepared(proto::breaking) },
    Step { name: "deny", what: "licences, bans and sources of dependencies", run: Run::Prepared(rust::deny) },
    Step { name: "clippy", what: "lints, none of them allowed", run: Run::Plain(rust::clippy) },
    Step { name: "build", what: "all programs and tests", run: Run::Plain(rust::build) },
    Step { name: "images", what: "images from the programs just built", run: Run::Prepared(images::from_build) },
    Step {
        name: "tests",
        what: "unit, property, contract, cluster and black-box tests",
        run: Run::Prepared(rust::tests),
    },
    Step { name: "benches", what: "that measurements still measure, in small", run: Run::Plain(bench::test) },
    Step { name: "sim", what: "promises, in simulated clusters under faults", run: Run::Plain(sim::test) },
    Step {
        name: "chaos",
        what: "promises, in a cluster of real processes, networks, engines and disks",
        run: Run::Prepared(chaos::test),
    },
    Step { name: "doc-tests", what: "the examples in the documentation", run: Run::Plain(rust::doc_tests) },
];

/// What the caller of `cargo xtask test` asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TestOptions {
    no_install: bool,
    only: Vec<String>,
}

impl TestOptions {
    /// Reads the arguments after `test`.
    pub(crate) fn parse(arguments: Vec<String>) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--no-install" => options.no_install = true,
                "--only" => options.only.push(known(arguments.next())?),
                other => match other.strip_prefix("--only=") {
                    Some(step) => options.only.push(known(Some(step.to_owned()))?),
                    None => {
                        return Err(Failure::new(format!("unknown argument `{other}`"), "see `cargo xtask --help`"));
                    }
                },
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn known(step: Option<String>) -> Result<String, Failure> {
    let step = step.ok_or_else(|| Failure::new("--only names no step", format!("name one of\n{}", list())))?;
    if step == PREREQUISITES || STEPS.iter().any(|known| known.name == step) {
        return Ok(step);
    }
    Err(Failure::new(format!("there is no step `{step}`"), format!("name one of\n{}", list())))
}

/// The steps for a person, one a line.
pub(crate) fn list() -> String {
    let first = format!("    {PREREQUISITES:<16}the tools and the Docker engine that the tests use\n");
    STEPS.iter().fold(first, |list, Step { name, what, .. }| list + &format!("    {name:<16}{what}\n"))
}

/// Runs the steps. Whatever the outcome, what they started is stopped and what they left over is removed.
pub(crate) fn test(options: &TestOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let mut timings = Vec::new();
    let prepare = options.wants(PREREQUISITES)
        || STEPS.iter().any(|step| options.wants(step.name) && matches!(step.run, Run::Prepared(_)));
    let mut machine = None;
    if prepare {
        let prepared = timed(PREREQUISITES, &mut timings, || machine::prepare(!options.no_install))?;
        machine = Some(prepared);
    }
    let outcome = steps(options, machine.as_ref(), &mut timings);
    if let Some(machine) = machine {
        println!("\n== cleanup");
        cleanup::containers();
        machine.stop_what_was_started();
    }
    println!("\n{:<16}time", "step");
    for (name, took) in &timings {
        println!("{name:<16}{:.1} s", took.as_secs_f64());
    }
    outcome?;
    println!("{:<16}{:.1} s", "all is well", started.elapsed().as_secs_f64());
    Ok(())
}

fn steps(
    options: &TestOptions,
    machine: Option<&Machine>,
    timings: &mut Vec<(&'static str, Duration)>,
) -> Result<(), Failure> {
    for step in STEPS.iter().filter(|step| options.wants(step.name)) {
        timed(step.name, timings, || match (&step.run, machine) {
            (Run::Plain(run), _) => run(),
            (Run::Prepared(run), Some(machine)) => run(machine),
            (Run::Prepared(_), None) => Err(Failure::new("the machine was not prepared", "this is a bug in xtask")),
        })?;
    }
    Ok(())
}

fn timed<T>(
    name: &'static str,
    timings: &mut Vec<(&'static str, Duration)>,
    run: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    println!("\n== {name}");
    let started = Instant::now();
    let outcome = run();
    timings.push((name, started.elapsed()));
    match &outcome {
        Ok(_) => println!("== {name}: ok, {:.1} s", started.elapsed().as_secs_f64()),
        Err(_) => println!("== {name}: FAILED, {:.1} s", started.elapsed().as_secs_f64()),
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<TestOptions, Failure> {
        TestOptions::parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn only_may_be_given_twice_and_in_both_spellings() {
        let options = parse("--only fmt --only=clippy --no-install").unwrap();
        assert_eq!(options, TestOptions { no_install: true, only: vec!["fmt".to_owned(), "clippy".to_owned()] });
        assert!(options.wants("clippy") && !options.wants("tests"));
    }

    #[test]
    fn without_only_every_step_is_wanted() {
        let options = parse("").unwrap();
        assert!(STEPS.iter().all(|step| options.wants(step.name)));
    }

    #[test]
    fn an_unknown_step_or_argument_is_refused_with_the_choice() {
        assert!(parse("--only nothing").unwrap_err().to_string().contains("doc-tests"));
        assert!(parse("--only").is_err());
        assert!(parse("--quick").is_err());
    }
}
