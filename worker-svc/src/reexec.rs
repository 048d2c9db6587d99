//! A program that hosts workers runs itself again for work that has to outlive it, under hidden subcommands.
//!
//! `supervise DIR` is the supervisor of one process, see [`crate::runtime::process`]; `guard DIR` stops containers at the end of
//! the node's lease, see [`crate::runtime::docker`].

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::runtime::{docker, process};

pub(crate) const SUPERVISE: &str = "supervise";
pub(crate) const GUARD: &str = "guard";

/// How the hidden subcommands are reached: a program whose `main` calls [`run_hidden`] before all else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reexec {
    /// What is executed.
    pub program: PathBuf,
    /// What is told to people as its name.
    pub name: OsString,
}

impl Reexec {
    /// The program that runs now, also when its file has been replaced since.
    #[must_use]
    pub fn this_program() -> Self {
        let name = env::args_os().next().unwrap_or_else(|| "davit-worker".into());
        Self { program: PathBuf::from("/proc/self/exe"), name }
    }

    /// Another one.
    #[must_use]
    pub fn program(path: impl Into<PathBuf>) -> Self {
        let program = path.into();
        Self { name: program.clone().into_os_string(), program }
    }
}

/// Does the work of a hidden subcommand if this process was started with one; its `main` is to return what this returns.
#[must_use]
pub fn run_hidden() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let (command, directory) = (arguments.next()?, arguments.next()?);
    match (command.as_os_str(), arguments.next()) {
        (command, None) if command == OsStr::new(SUPERVISE) => Some(process::supervise(Path::new(&directory))),
        (command, None) if command == OsStr::new(GUARD) => Some(docker::guard(Path::new(&directory))),
        _ => None,
    }
}
