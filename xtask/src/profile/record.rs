//! Builds programs that perf can read, and runs a measurement under it.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{DATA, OUTPUT, SAMPLES_PER_S, SEEN};
use crate::{
    bench,
    failure::Failure,
    shell::{capture, command, not_started, run, show, succeeds},
    workspace,
};

/// What was recorded.
pub(super) struct Recorded {
    /// Where all of it is.
    pub(super) path: PathBuf,
    /// Whether the measurement itself was content.
    pub(super) measured: Result<(), Failure>,
}

/// Measures under perf. The arguments are those of `cargo xtask bench`.
pub(super) fn record(arguments: &[String]) -> Result<Recorded, Failure> {
    if !succeeds(command("perf").arg("--version")) {
        return Err(Failure::new(
            "perf is not installed, or does not run",
            "install it: linux-perf on Debian, linux-tools-generic on Ubuntu, perf on Fedora, Arch and Alpine",
        ));
    }
    // A target directory of its own: flags are part of what cargo compares, and the usual build would be made anew each time.
    let target = workspace::target().join("profile");
    let mut build = bench::build();
    build.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", "-C force-frame-pointers=yes");
    build.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    run(&mut build)?;
    let date = capture(command("date").arg("+%Y-%m-%d-%H%M%S")).unwrap_or_else(|| "undated".to_owned());
    let path = workspace::target().join(format!("profile-{date}"));
    fs::create_dir_all(&path).map_err(|error| unwritable(&path, &error))?;
    let mut perf = command("perf");
    perf.arg("--buildid-dir").arg(path.join(SEEN)).args(["record", "--event", "cpu-clock", "--freq"]);
    perf.arg(SAMPLES_PER_S.to_string()).args(["--call-graph", "fp", "--clockid", "CLOCK_MONOTONIC"]);
    if capture(command("id").arg("-u")).as_deref() == Some("0") {
        // Everything on the machine: what the kernel does for Davit elsewhere, and what else takes time, is seen too.
        perf.arg("--all-cpus");
    }
    perf.arg("--output").arg(path.join(DATA)).arg("--").arg(target.join("release/davit-bench")).args(arguments);
    let measured = run_kept(&mut perf, &path.join(OUTPUT))
        .map_err(|failure| failure.advise("the lines above say what is not as it has to be"));
    if !path.join(DATA).is_file() {
        return Err(measured.err().unwrap_or_else(|| Failure::new("perf has written nothing", "its output is above")));
    }
    println!("the profile is in {}", path.display());
    Ok(Recorded { path, measured })
}

/// Runs a command with its output on ours, and keeps a copy of it.
fn run_kept(command: &mut Command, copy: &Path) -> Result<(), Failure> {
    show(command);
    let failed = |error| unwritable(copy, &error);
    let mut copy = File::create(copy).map_err(failed)?;
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| not_started(command, &error))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(failed)?;
            println!("{}", String::from_utf8_lossy(&line));
            copy.write_all(&line).and_then(|()| copy.write_all(b"\n")).map_err(failed)?;
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("the measurement ended with {status}"), "see above"))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} can't be written: {error}", path.display()), "make room")
}
