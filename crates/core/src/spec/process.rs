//! A plain process.

use std::collections::BTreeMap;

/// A plain process, in a process group of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The program, then its arguments. Not passed through a shell. Never empty.
    pub command: Vec<String>,
    /// Added to a minimal environment: `PATH`, `HOME`, and what tells a task of itself, of which `DAVIT_ATTEMPT` can't be set otherwise.
    pub env: BTreeMap<String, String>,
    /// Where it runs. Empty: a directory of the task's own.
    pub working_dir: String,
}

impl ProcessSpec {
    /// A program and its arguments with nothing else asked for.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self { command, env: BTreeMap::new(), working_dir: String::new() }
    }
}
