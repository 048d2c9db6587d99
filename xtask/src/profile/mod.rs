//! Where processor time goes while something is measured: the measurement runs under perf, and what perf saw is told in tables.
//!
//! | file | does |
//! | --- | --- |
//! | `record` | builds programs that perf can read, and runs the measurement under it |
//! | `script` | PURE: what perf saw, from its text |
//! | `symbol` | PURE: which crate a function is of |
//! | `phases` | PURE: which phase the measurement said to be in when |
//! | `tally` | PURE: counts samples |
//! | `table` | PURE: the tables |

mod phases;
mod record;
mod script;
mod symbol;
mod table;
mod tally;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use crate::{
    failure::Failure,
    profile::{phases::Phases, script::Script, tally::Tally},
    shell::{command, not_started},
};

/// Samples a second, of each core. Not a divisor of what programs do each so many milliseconds.
const SAMPLES_PER_S: u32 = 199;
/// What perf saw, in the folder of a profile.
const DATA: &str = "perf.data";
/// What the measurement printed.
const OUTPUT: &str = "output.txt";
/// Copies of the programs and libraries that were seen: their names are found after the next build too.
const SEEN: &str = "programs";

/// `cargo xtask profile SUBJECT …` and `cargo xtask profile report FOLDER [--phase NAME]`.
pub(crate) fn run_with(arguments: &[String]) -> Result<(), Failure> {
    match arguments.split_first() {
        None => Err(Failure::new(
            "nothing to profile",
            "name what `cargo xtask bench` measures, such as `cluster --nodes 100`",
        )),
        Some((first, rest)) if first == "report" => {
            let (folder, phase) = asked(rest)?;
            report(Path::new(folder), phase)
        }
        Some(_) => {
            let folder = record::record(arguments)?;
            report(&folder.path, None)?;
            println!("\none phase alone: cargo xtask profile report {} --phase NAME", folder.path.display());
            folder.measured
        }
    }
}

/// The folder and the phase of `report`.
fn asked(arguments: &[String]) -> Result<(&str, Option<&str>), Failure> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [folder] if !folder.starts_with('-') => Ok((folder, None)),
        [folder, "--phase", phase] | ["--phase", phase, folder] => Ok((folder, Some(phase))),
        [folder, phase] if phase.starts_with("--phase=") => Ok((folder, phase.strip_prefix("--phase="))),
        _ => Err(Failure::new(
            "it is not clear which profile is to be told",
            "write it as `cargo xtask profile report FOLDER` or `… FOLDER --phase NAME`",
        )),
    }
}

/// Prints the tables of a profile, of all of it or of one phase.
fn report(folder: &Path, phase: Option<&str>) -> Result<(), Failure> {
    let unreadable = |error| {
        let what = format!("the profile in {} can't be read: {error}", folder.display());
        Failure::new(what, "name a folder that `cargo xtask profile` has made")
    };
    let phases = Phases::parse(&fs::read_to_string(folder.join(OUTPUT)).map_err(unreadable)?);
    if let Some(phase) = phase.filter(|phase| !phases.has(phase)) {
        let known = format!("use one of {}", phases.names().join(", "));
        return Err(Failure::new(format!("there was no phase `{phase}`"), known));
    }
    let folder = fs::canonicalize(folder).map_err(unreadable)?;
    let mut perf = command("perf");
    perf.arg("--buildid-dir").arg(folder.join(SEEN)).arg("script").arg("--input").arg(folder.join(DATA));
    // Inlined functions are left to those that they are part of: to look each up takes longer than the measurement.
    perf.args(["--fields", "comm,pid,tid,time,ip,sym,dso", "--ns", "--show-task-events", "--no-inline"]);
    let log = File::create(folder.join("perf-script.log")).map_err(unreadable)?;
    let mut child = perf.stdout(Stdio::piped()).stderr(log).spawn().map_err(|error| not_started(&perf, &error))?;
    let (mut script, mut tally) = (Script::default(), Tally::default());
    let mut count = |sample: script::Sample| {
        if phase.is_none_or(|phase| phases.at(sample.at_s) == Some(phase)) {
            tally.add(&sample);
        }
    };
    if let Some(output) = child.stdout.take() {
        // Names may be of any bytes.
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(unreadable)?;
            script.line(&String::from_utf8_lossy(&line)).map(&mut count);
        }
    }
    script.end().map(&mut count);
    let status = child.wait().map_err(unreadable)?;
    if !status.success() || tally.samples() == 0 {
        let log = folder.join("perf-script.log");
        return Err(Failure::new("perf saw nothing that it can tell", format!("see {}", log.display())));
    }
    println!("\n{}", phases.told(phase));
    print!("{}", table::tables(&tally, script.names(), f64::from(SAMPLES_PER_S)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_of_a_folder_and_maybe_of_one_phase() {
        let asked = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            asked(&words).ok().map(|(folder, phase)| (folder.to_owned(), phase.map(str::to_owned)))
        };
        let of = |phase: Option<&str>| Some(("a".to_owned(), phase.map(str::to_owned)));
        assert_eq!(asked("a"), of(None));
        assert_eq!(asked("a --phase bulk"), of(Some("bulk")));
        assert_eq!(asked("a --phase=bulk"), of(Some("bulk")));
        assert_eq!(asked("--phase bulk a"), of(Some("bulk")));
        for wrong in ["", "--phase", "a b", "a --phase"] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }
}
