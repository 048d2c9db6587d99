//! How long the cluster took to get over each kind of fault, as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::{Kind, Since};

/// What became of one fault that came alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Of each service that it had ended and that may be replaced at once: how long until it ran again.
    pub(crate) replaced: Vec<Duration>,
    /// The same of those that may never run twice, which have to wait for a lease.
    pub(crate) lonely: Vec<Duration>,
    /// Until changes were taken again; `None` if they always were.
    pub(crate) writes: Option<Duration>,
}

impl Recovery {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        let slowest = |times: &[Duration], what: &str| {
            let slowest = times.iter().max()?;
            Some(format!("{} {what} ran again within {:.2} s", times.len(), slowest.as_secs_f64()))
        };
        let writes = self.writes.map(|time| format!("changes were taken again after {:.2} s", time.as_secs_f64()));
        let parts = [slowest(&self.replaced, "services"), slowest(&self.lonely, "stop_and_replace services"), writes];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "nobody noticed".to_owned() } else { parts.join(", ") }
    }
}

/// Recoveries by kind of fault.
#[derive(Debug, Default)]
pub(crate) struct Report {
    by_kind: BTreeMap<Kind, Vec<Recovery>>,
    /// How often two came at one time; these are not measured.
    pub(crate) pairs: usize,
}

impl Report {
    /// Adds one.
    pub(crate) fn add(&mut self, kind: Kind, recovery: Recovery) {
        self.by_kind.entry(kind).or_default().push(recovery);
    }

    /// For people, and for docs/reliability.md as it is.
    pub(crate) fn table(&self) -> String {
        let mut table =
            "| fault | n | since | services | median s | p99 | worst | stop_and_replace | median s | p99 | worst \
                         | writes | median s | p99 | worst |\n"
                .to_owned();
        table += "| --- | ---: | --- |";
        table += &" ---: |".repeat(12);
        table.push('\n');
        for (kind, recoveries) in &self.by_kind {
            let since = match kind.since() {
                Since::Begin => "begin",
                Since::End => "end",
            };
            let columns = [
                columns(recoveries.iter().flat_map(|recovery| recovery.replaced.iter().copied()).collect()),
                columns(recoveries.iter().flat_map(|recovery| recovery.lonely.iter().copied()).collect()),
                columns(recoveries.iter().filter_map(|recovery| recovery.writes).collect()),
            ];
            table += &format!("| {} | {} | {since} | {} |\n", kind.name(), recoveries.len(), columns.join(" | "));
        }
        table
    }
}

/// How many there are, median, 99th percentile and worst.
fn columns(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let seconds = |percent| format!("{:.2}", quantile(&times, percent).as_secs_f64());
    match times.len() {
        0 => "0 | | |".to_owned(),
        count => format!("{count} | {} | {} | {}", seconds(50), seconds(99), seconds(100)),
    }
}

/// The smallest value that so many percent do not exceed; zero of nothing.
pub(crate) fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(quantile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(quantile(&sorted, 100), Duration::from_millis(200));
        assert_eq!(quantile(&sorted[..1], 99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn a_kind_has_a_line_and_what_did_not_happen_has_no_time() {
        let mut report = Report::default();
        let replaced = vec![Duration::from_secs(3), Duration::from_secs(4)];
        report.add(Kind::WorkerCut, Recovery { replaced, ..Default::default() });
        let table = report.table();
        let line = "| worker-cut | 1 | begin | 2 | 3.00 | 4.00 | 4.00 | 0 | | | | 0 | | | |\n";
        assert!(table.ends_with(line), "{table}");
        let bars = |line: &str| line.matches('|').count();
        assert!(table.lines().all(|line| bars(line) == 16), "{table}");
    }
}
