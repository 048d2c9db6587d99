//! Where and when was measured, and what.

use std::fmt;

use davit_svc_kit::clock::{Clock, SystemClock};
use serde::Serialize;

use crate::error::Error;
use crate::speed::{self, Speed};

/// Where and when was measured, and what.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// The processor's model.
    pub(crate) cpu: String,
    /// How many of its cores this process may use.
    pub(crate) cores: usize,
    /// In UTC.
    pub(crate) date: String,
    /// Of the code; ends in `-dirty` when there were changes that it does not hold.
    pub(crate) commit: String,
    /// Processes that wanted to run before the start, over one minute. Far from 0: something else was at work.
    pub(crate) load_before: String,
    /// How fast it was when it was looked at.
    #[serde(skip)]
    pub(crate) speed_before: Speed,
}

impl Machine {
    /// Looks around.
    pub(crate) fn look() -> Result<Self, Error> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().filter(|line| line.starts_with("model name")).find_map(|line| line.split_once(": "));
        let load = read("/proc/loadavg");
        let now = SystemClock.now().to_string();
        Ok(Self {
            cpu: model.map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            date: now.split('T').next().unwrap_or_default().to_owned(),
            commit: option_env!("DAVIT_COMMIT").unwrap_or("unknown").to_owned(),
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
            speed_before: speed::measure_apart()?,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, date, commit, load_before, speed_before } = self;
        writeln!(f, "{cpu}, {cores} cores; {date}; commit {commit}; load before the start {load_before}")?;
        writeln!(f, "its speed before: {speed_before}")
    }
}
