//! Counts samples.

use std::collections::{HashMap, HashSet};

use super::{
    script::Sample,
    symbol::{is_kernel, is_ours, owner},
};

/// What was counted of one process, or of several with one name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counted {
    pub(super) samples: u64,
    /// By the crate of the function that ran.
    pub(super) owners: HashMap<String, u64>,
    /// By the function that ran.
    pub(super) own: HashMap<String, u64>,
    /// By functions of our own crates: those that ran, or that called what ran.
    pub(super) with_callees: HashMap<String, u64>,
}

/// What was counted, by the processes' ids.
#[derive(Debug, Default)]
pub(super) struct Tally {
    processes: HashMap<u32, Counted>,
    /// What processes are called that were never named themselves.
    threads: HashMap<u32, String>,
}

impl Tally {
    pub(super) fn add(&mut self, sample: &Sample) {
        self.threads.entry(sample.process_id).or_insert_with(|| sample.thread.clone());
        let counted = self.processes.entry(sample.process_id).or_default();
        counted.samples += 1;
        let Some(running) = sample.frames.first() else { return };
        *counted.owners.entry(owner(running)).or_default() += 1;
        let function = match is_kernel(running) {
            true => format!("{} [kernel]", running.function),
            false => running.function.clone(),
        };
        *counted.own.entry(function).or_default() += 1;
        // One that calls itself counts once.
        let ours: HashSet<&str> =
            sample.frames.iter().filter(|frame| is_ours(&owner(frame))).map(|frame| &*frame.function).collect();
        for function in ours {
            *counted.with_callees.entry(function.to_owned()).or_default() += 1;
        }
    }

    /// How many there were.
    pub(super) fn samples(&self) -> u64 {
        self.processes.values().map(|counted| counted.samples).sum()
    }

    /// Those of one name together, the largest first.
    pub(super) fn by_name(&self, names: &HashMap<u32, String>) -> Vec<(String, Counted)> {
        let mut together: HashMap<&str, Counted> = HashMap::new();
        for (process_id, counted) in &self.processes {
            let name = names.get(process_id).or_else(|| self.threads.get(process_id)).map_or("unknown", String::as_str);
            let sum = together.entry(if *process_id == 0 { IDLE } else { name }).or_default();
            sum.samples += counted.samples;
            merge(&mut sum.owners, &counted.owners);
            merge(&mut sum.own, &counted.own);
            merge(&mut sum.with_callees, &counted.with_callees);
        }
        let mut together: Vec<_> = together.into_iter().map(|(name, counted)| (name.to_owned(), counted)).collect();
        together.sort_by(|(one, one_counted), (other, other_counted)| {
            other_counted.samples.cmp(&one_counted.samples).then_with(|| one.cmp(other))
        });
        together
    }
}

/// What the kernel counts under process 0.
pub(super) const IDLE: &str = "(idle)";

fn merge(sum: &mut HashMap<String, u64>, counts: &HashMap<String, u64>) {
    for (name, count) in counts {
        *sum.entry(name.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::script::{
        Frame,
        tests::{RECORDED, samples},
    };

    #[test]
    fn samples_count_by_process_crate_and_function() {
        let (samples, script) = samples(RECORDED);
        let mut tally = Tally::default();
        samples.iter().for_each(|sample| tally.add(sample));
        assert_eq!(tally.samples(), 9);
        let by_name = tally.by_name(script.names());
        let names: Vec<_> = by_name.iter().map(|(name, counted)| (&**name, counted.samples)).collect();
        // Two processes are davit-worker, and of one process only a thread's name is known.
        let expected = [("davit-manager", 4), ("davit-worker", 2), (IDLE, 1), ("davit-scheduler", 1), ("kdamond.0", 1)];
        assert_eq!(names, expected);
        let manager = &by_name[0].1;
        assert_eq!(manager.owners, counts(&[("kernel", 1), ("libc", 1), ("mimalloc", 1), ("manager_svc", 1)]));
        assert_eq!(manager.own["exc_page_fault [kernel]"], 1);
        let (commit, write) =
            ("manager_svc::store::fjall::Inner::commit", "manager_svc::store::fjall::engine::Engine::write");
        assert_eq!(manager.with_callees, counts(&[(commit, 4), (write, 1)]));
    }

    #[test]
    fn a_function_that_calls_itself_counts_once() {
        let frame = || Frame { function: "davit_core::walk".to_owned(), object: "/x/davit".to_owned() };
        let mut tally = Tally::default();
        tally.add(&Sample { process_id: 1, thread: "davit".to_owned(), at_s: 1.0, frames: vec![frame(), frame()] });
        assert_eq!(tally.by_name(&HashMap::new())[0].1.with_callees, counts(&[("davit_core::walk", 1)]));
    }

    fn counts(counts: &[(&str, u64)]) -> HashMap<String, u64> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }
}
