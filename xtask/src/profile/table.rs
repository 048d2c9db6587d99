//! The tables.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
};

use super::tally::{Counted, IDLE, Tally};

/// Rows of a table, at most.
const PROCESSES: usize = 10;
const OWNERS: usize = 14;
const FUNCTIONS: usize = 20;
/// Davit's processes that are told more of, at most: the largest.
const DETAILED: usize = 3;
/// Longer names are cut in their middle.
const NAME_LETTERS: usize = 108;

/// All tables: processes, and more of the largest of Davit.
pub(super) fn tables(tally: &Tally, names: &HashMap<u32, String>, samples_per_s: f64) -> String {
    let mut text = String::new();
    // Writing into a text can't fail.
    let _ = write(&mut text, &tally.by_name(names), samples_per_s);
    text
}

fn write(text: &mut String, processes: &[(String, Counted)], samples_per_s: f64) -> fmt::Result {
    let cpu_s = |samples: u64| samples as f64 / samples_per_s;
    let idle: u64 = processes.iter().filter(|(name, _)| name == IDLE).map(|(_, counted)| counted.samples).sum();
    let busy: Vec<_> = processes.iter().filter(|(name, _)| name != IDLE).collect();
    let all: u64 = busy.iter().map(|(_, counted)| counted.samples).sum();
    writeln!(text, "{all} samples, {:.1} CPU s; cores idle for {:.1} s\n", cpu_s(all), cpu_s(idle))?;
    writeln!(text, "{:>8} {:>8}  process", "CPU s", "share")?;
    for (name, counted) in busy.iter().take(PROCESSES) {
        writeln!(text, "{:>8.2} {:>8}  {name}", cpu_s(counted.samples), percent(counted.samples, all))?;
    }
    let others: u64 = busy.iter().skip(PROCESSES).map(|(_, counted)| counted.samples).sum();
    if others > 0 {
        writeln!(text, "{:>8.2} {:>8}  {} others", cpu_s(others), percent(others, all), busy.len() - PROCESSES)?;
    }
    for (name, counted) in busy.iter().filter(|(name, _)| name.starts_with("davit")).take(DETAILED) {
        writeln!(text, "\n=== {name}: {:.2} CPU s", cpu_s(counted.samples))?;
        rows(text, "by crate of the function that runs", &counted.owners, counted.samples, OWNERS)?;
        rest(text, &counted.owners, counted.samples, OWNERS)?;
        rows(text, "functions, without what they call", &counted.own, counted.samples, FUNCTIONS)?;
        rows(text, "functions of Davit, with all that they call", &counted.with_callees, counted.samples, FUNCTIONS)?;
    }
    Ok(())
}

/// The largest of them.
fn rows(text: &mut String, what: &str, counts: &HashMap<String, u64>, all: u64, at_most: usize) -> fmt::Result {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by(|(one, one_count), (other, other_count)| other_count.cmp(one_count).then_with(|| one.cmp(other)));
    writeln!(text, "\n{:>8}  {what}", "share")?;
    for (name, count) in sorted.into_iter().take(at_most) {
        writeln!(text, "{:>8}  {}", percent(*count, all), cut(name))?;
    }
    Ok(())
}

/// What is beyond the largest, together.
fn rest(text: &mut String, counts: &HashMap<String, u64>, all: u64, at_most: usize) -> fmt::Result {
    let mut sorted: Vec<u64> = counts.values().copied().collect();
    sorted.sort_unstable_by(|one, other| other.cmp(one));
    let beyond = sorted.get(at_most..).unwrap_or_default();
    if beyond.is_empty() {
        return Ok(());
    }
    writeln!(text, "{:>8}  {} others", percent(beyond.iter().sum(), all), beyond.len())
}

fn percent(part: u64, all: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / all.max(1) as f64)
}

/// A name that fits in a line: begin and end tell more than the middle.
fn cut(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= NAME_LETTERS {
        return name.to_owned();
    }
    let half = NAME_LETTERS / 2 - 1;
    let (begin, end): (String, String) =
        (letters[..half].iter().collect(), letters[letters.len() - half..].iter().collect());
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::script::tests::{RECORDED, samples};

    #[test]
    fn shares_are_of_what_is_not_idle_and_the_largest_come_first() {
        let (samples, script) = samples(RECORDED);
        let mut tally = Tally::default();
        samples.iter().for_each(|sample| tally.add(sample));
        let text = tables(&tally, script.names(), 2.0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "8 samples, 4.0 CPU s; cores idle for 0.5 s");
        assert_eq!(lines[3], "    2.00   50.0 %  davit-manager");
        assert_eq!(lines[8], "=== davit-manager: 2.00 CPU s");
        assert!(lines.contains(&" 100.0 %  manager_svc::store::fjall::Inner::commit"), "{text}");
        assert!(lines.contains(&"=== davit-worker: 1.00 CPU s") && !text.contains("=== kdamond"), "{text}");
    }

    #[test]
    fn what_is_beyond_the_largest_is_told_together() {
        let counts: HashMap<String, u64> = (0..5).map(|number| (format!("crate{number}"), number)).collect();
        let mut text = String::new();
        rows(&mut text, "by crate", &counts, 10, 3).unwrap();
        assert_eq!(text, "\n   share  by crate\n  40.0 %  crate4\n  30.0 %  crate3\n  20.0 %  crate2\n");
        rest(&mut text, &counts, 10, 3).unwrap();
        assert!(text.ends_with("  10.0 %  2 others\n"), "{text}");
    }

    #[test]
    fn long_names_keep_begin_and_end() {
        let cut = cut(&format!("begin{}end", "-".repeat(500)));
        assert!(cut.chars().count() <= NAME_LETTERS && cut.starts_with("begin-") && cut.ends_with("-end"), "{cut}");
        assert_eq!(super::cut("short"), "short");
    }
}
