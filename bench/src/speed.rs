//! How fast this machine is just now. Others may share it, and then it changes from minute to minute: figures of two runs can only
//! be compared beside this one.

use std::fmt;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::Error;
use crate::workload::Rng;

/// Of each thread: about 0.3 s of work on a core of 2020.
const STEPS: u64 = 50_000_000;
/// The words that steps go over in no order, 4 MiB: more than the caches nearest to a core hold.
const WORDS: usize = 1 << 19;

/// Million steps a second of a fixed piece of work: draw a number, and add it to a word of memory at a random place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Speed {
    /// Of one thread alone.
    pub(crate) one_core: f64,
    /// Of as many threads as there are cores, all together.
    pub(crate) all_cores: f64,
}

/// Around a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Around {
    pub(crate) before: Speed,
    pub(crate) after: Speed,
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} million steps/s on one core, {:.0} on all", self.one_core, self.all_cores)
    }
}

/// Works for about 0.7 s in this process.
pub(crate) fn measure() -> Speed {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Speed { one_core: rate(1, STEPS), all_cores: rate(cores, STEPS) }
}

/// The same in a process of its own, so that the memory that it takes and gives back is not taken for that of what is measured.
pub(crate) fn measure_apart() -> Result<Speed, Error> {
    // This very program, also when a build has put another in its place meanwhile.
    let path = PathBuf::from("/proc/self/exe");
    let output = Command::new(&path).arg("speed").output();
    let output = output.map_err(|source| Error::NotStarted { path, source })?;
    let said = String::from_utf8_lossy(&output.stdout);
    let parsed = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    parsed.ok_or_else(|| Error::WrongAnswer(format!("the machine's speed was not told: {said}")))
}

/// Million steps a second of all threads together.
fn rate(threads: usize, steps: u64) -> f64 {
    let mut tables = vec![vec![1_u64; WORDS]; threads];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (seed, table) in (1..).zip(&mut tables) {
            scope.spawn(move || black_box(work(table, steps, seed)));
        }
    });
    threads as f64 * steps as f64 / began.elapsed().as_secs_f64().max(1e-9) / 1e6
}

/// The work. Answers what depends on all of it, so that none is left out.
fn work(table: &mut [u64], steps: u64, seed: u64) -> u64 {
    let (mut rng, mut sum) = (Rng::new(seed), 0_u64);
    for _ in 0..steps {
        let drawn = rng.next();
        if let Some(word) = table.get_mut(drawn as usize % WORDS) {
            *word = word.wrapping_add(drawn);
            sum ^= *word;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_the_same_each_time_and_every_step_counts() {
        let work = |steps| work(&mut vec![1; WORDS], steps, 7);
        assert_eq!(work(10_000), work(10_000));
        assert_ne!(work(10_000), work(9_999));
    }

    #[test]
    fn threads_add_up() {
        assert!(rate(1, 1_000) > 0.0);
        assert!(rate(2, 1_000) > 0.0);
    }
}
