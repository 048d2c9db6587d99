//! Fuzzing, by cargo-fuzz.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    shell::{capture, cargo, command, run, succeeds},
    workspace,
};

/// Inputs that each target is given unless told otherwise.
const DEFAULT_RUNS: u64 = 1_000_000;
/// The longest input, in bytes: of longer ones a fuzzer tries fewer, and most of what they hold is alike.
const MAX_INPUT_BYTES: u32 = 1024;
/// An input that takes longer, in seconds, has found something that does not end.
const TIMEOUT_SECONDS: u32 = 20;
/// How a build of this kind is asked for: without a sanitizer, so that it works with a stable compiler.
const NO_SANITIZER: [&str; 2] = ["-s", "none"];

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    runs: u64,
    /// Empty: all.
    targets: Vec<String>,
}

/// What came of one target.
struct Row {
    target: String,
    inputs: Option<u64>,
    found: Option<u64>,
    took: Duration,
    log: Option<PathBuf>,
}

/// `cargo xtask fuzz`: builds all targets, runs them one after the other with the lowest priority, and prints a table. What the
/// fuzzer finds on its way is kept out of the project: only an input that breaks a promise stays, in fuzz/artifacts.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    let options = Options::parse(arguments)?;
    if !succeeds(cargo().args(["fuzz", "--version"])) {
        return Err(Failure::new("cargo-fuzz is not installed", "run `cargo install --locked cargo-fuzz`"));
    }
    let known = capture(cargo().args(["fuzz", "list"])).unwrap_or_default();
    let known: Vec<&str> = known.lines().collect();
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(&target.as_str())) {
        return Err(Failure::new(
            format!("there is no target `{unknown}`"),
            format!("use one of {}", known.join(", ")),
        ));
    }
    run(cargo().args(["fuzz", "build"]).args(NO_SANITIZER))
        .map_err(|failure| failure.advise("it needs a C++ compiler"))?;
    let scratch = std::env::temp_dir().join(format!("davit-fuzz-{}", std::process::id()));
    let targets =
        known.iter().filter(|known| options.targets.is_empty() || options.targets.iter().any(|one| one == *known));
    let mut rows = Vec::new();
    for target in targets {
        rows.push(fuzz(target, options.runs, &scratch)?);
    }
    print(&rows);
    let logs: Vec<_> = rows.iter().filter_map(|row| row.log.as_ref()).map(|log| log.display().to_string()).collect();
    if logs.is_empty() {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_dir_all(&scratch);
        return Ok(());
    }
    Err(Failure::new("a target broke a promise", format!("see {}; the input is in fuzz/artifacts", logs.join(", "))))
}

fn fuzz(target: &str, runs: u64, scratch: &Path) -> Result<Row, Failure> {
    let io = |error: std::io::Error| Failure::new(format!("{} can't be used: {error}", scratch.display()), "make room");
    let found = scratch.join(target);
    fs::create_dir_all(&found).map_err(io)?;
    let log = scratch.join(format!("{target}.log"));
    let seeds = workspace::root().join("fuzz/corpus").join(target);
    let mut fuzzer = command("nice");
    fuzzer.args(["-n", "19"]).arg(cargo().get_program()).args(["fuzz", "run"]).args(NO_SANITIZER).arg(target);
    fuzzer.args([&found, &seeds]).arg("--").arg(format!("-runs={runs}")).arg(format!("-max_len={MAX_INPUT_BYTES}"));
    fuzzer.arg(format!("-timeout={TIMEOUT_SECONDS}")).arg("-print_final_stats=1");
    println!("\n== {target}: {runs} inputs; what it says goes to {}", log.display());
    let started = Instant::now();
    let status = fuzzer.stderr(File::create(&log).map_err(io)?).status().map_err(io)?;
    let said = fs::read(&log).map_err(io)?;
    let said = String::from_utf8_lossy(&said);
    // One that found something says nothing of its time; of the others the wait for a build is left out.
    let took = duration(&said).unwrap_or_else(|| started.elapsed());
    let row = Row {
        target: target.to_owned(),
        inputs: statistic(&said, "number_of_executed_units"),
        found: statistic(&said, "new_units_added"),
        took,
        log: (!status.success()).then_some(log),
    };
    println!("== {target}: {}, {:.0} s", if status.success() { "ok" } else { "FAILED" }, took.as_secs_f64());
    Ok(row)
}

/// A figure that libFuzzer prints at its end: `stat::name: 123`.
fn statistic(said: &str, name: &str) -> Option<u64> {
    let value = said.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
    value?.trim().parse().ok()
}

/// How long a fuzzer says that it ran: `Done 10 runs in 3 second(s)`.
fn duration(said: &str) -> Option<Duration> {
    let (_, time) = said.lines().rev().find_map(|line| line.strip_prefix("Done ")?.split_once(" runs in "))?;
    time.split(' ').next()?.parse().ok().map(Duration::from_secs)
}

fn print(rows: &[Row]) {
    println!("\n{:<20}{:>12}{:>10}{:>12}{:>14}  result", "target", "inputs", "minutes", "inputs/s", "new in corpus");
    for Row { target, inputs, found, took, log } in rows {
        let shown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let pace = inputs.map(|inputs| (inputs as f64 / took.as_secs_f64().max(0.001)) as u64);
        let result = if log.is_some() { "FAILED" } else { "ok" };
        let (inputs, pace, found, minutes) = (shown(*inputs), shown(pace), shown(*found), took.as_secs_f64() / 60.0);
        println!("{target:<20}{inputs:>12}{minutes:>10.1}{pace:>12}{found:>14}  {result}");
    }
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Self { runs: DEFAULT_RUNS, targets: Vec::new() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let runs = match argument.strip_prefix("--runs") {
                Some("") => arguments.next().map(String::as_str).unwrap_or_default(),
                Some(rest) if rest.starts_with('=') => &rest[1..],
                _ if argument.starts_with('-') => {
                    return Err(Failure::new(format!("unknown argument `{argument}`"), "see `cargo xtask --help`"));
                }
                _ => {
                    options.targets.push(argument.clone());
                    continue;
                }
            };
            options.runs = runs.parse().ok().filter(|runs| *runs > 0).ok_or_else(|| {
                Failure::new(format!("`{runs}` is not a number of inputs"), "write it as --runs 1000000")
            })?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Failure> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_number_of_inputs_and_targets_may_be_given() {
        let options =
            |runs, targets: &[&str]| Options { runs, targets: targets.iter().map(|one| (*one).to_owned()).collect() };
        assert_eq!(parse("").unwrap(), options(DEFAULT_RUNS, &[]));
        assert_eq!(parse("--runs 5 settings").unwrap(), options(5, &["settings"]));
        assert_eq!(parse("a --runs=7 b").unwrap(), options(7, &["a", "b"]));
        for wrong in ["--runs", "--runs 0", "--runs=x", "--quick"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_figures_are_those_at_the_end_of_what_a_fuzzer_says() {
        let said = "#2 INITED\nstat::number_of_executed_units: 1000\nstat::new_units_added:         25\n";
        assert_eq!(statistic(said, "number_of_executed_units"), Some(1000));
        assert_eq!(statistic(said, "new_units_added"), Some(25));
        assert_eq!(statistic(said, "peak_rss_mb"), None);
        assert_eq!(duration("#9 DONE\nDone 1000 runs in 61 second(s)\nstat::x: 1\n"), Some(Duration::from_secs(61)));
        assert_eq!(duration(said), None);
    }
}
