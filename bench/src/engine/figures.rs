//! What the rounds took, and what they amount to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use tokio::time::Instant;

use super::single::Singles;
use crate::error::Error;
use crate::report::json::rounded;
use crate::running::programs::machine_cpu_s;

/// How long one round of one contender took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// From the first word until the last container ran.
    pub(super) start: Duration,
    /// Processor time of the whole machine meanwhile.
    pub(super) start_cpu_s: f64,
    /// From the first word until none ran any more.
    pub(super) stop: Duration,
    pub(super) stop_cpu_s: f64,
}

/// Does a piece of work, and tells how long that took, and the processor time of the whole machine.
pub(super) async fn timed<T>(work: impl Future<Output = Result<T, Error>>) -> Result<(T, Duration, f64), Error> {
    let (began, cpu_before) = (Instant::now(), machine_cpu_s()?);
    let done = work.await?;
    Ok((done, began.elapsed(), machine_cpu_s()? - cpu_before))
}

/// All rounds, by contender.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, Vec<Times>>);

/// The rounds of a contender, in containers a second; or Davit's rates by another's, of which the middle is that of the middle
/// rounds, and the others are of pairs of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Rate {
    /// The middle round.
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) started_per_s: Rate,
    /// Processor time of the whole machine for each container that was started, in the middle round.
    pub(super) start_cpu_ms: f64,
    pub(super) stopped_per_s: Rate,
    pub(super) stop_cpu_ms: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Summary {
    pub(super) rows: Vec<Row>,
    pub(super) start_to_bare: Option<Rate>,
    pub(super) start_to_swarm: Option<Rate>,
    pub(super) stop_to_bare: Option<Rate>,
    pub(super) stop_to_swarm: Option<Rate>,
}

impl Figures {
    pub(super) fn add(&mut self, name: String, times: Times) {
        println!(
            "  {name}: started in {:.2} s with {:.2} CPU s, stopped in {:.2} s with {:.2} CPU s",
            times.start.as_secs_f64(),
            times.start_cpu_s,
            times.stop.as_secs_f64(),
            times.stop_cpu_s
        );
        self.0.entry(name).or_default().push(times);
    }

    /// Of rounds with so many containers each. The bare API counts with the number of calls at once whose middle round is best.
    pub(super) fn summary(&self, containers: u32) -> Summary {
        let rate = |time: Duration| f64::from(containers) / time.as_secs_f64().max(1e-9);
        let of = |times: &[Times], what: fn(&Times) -> Duration| -> Vec<f64> {
            times.iter().map(|times| rate(what(times))).collect()
        };
        let each = |cpu_s: Vec<f64>| rounded(spread(cpu_s).median * 1000.0 / f64::from(containers), 10.0);
        let start: fn(&Times) -> Duration = |times| times.start;
        let stop: fn(&Times) -> Duration = |times| times.stop;
        let rows = self.0.iter().map(|(name, times)| Row {
            name: name.clone(),
            started_per_s: spread(of(times, start)),
            start_cpu_ms: each(times.iter().map(|times| times.start_cpu_s).collect()),
            stopped_per_s: spread(of(times, stop)),
            stop_cpu_ms: each(times.iter().map(|times| times.stop_cpu_s).collect()),
        });
        let best = |what: fn(&Times) -> Duration| -> Vec<f64> {
            let bare = self.0.iter().filter(|(name, _)| name.starts_with("bare")).map(|(_, times)| of(times, what));
            let middle = |rates: &Vec<f64>| spread(rates.clone()).median;
            bare.max_by(|one, other| middle(one).total_cmp(&middle(other))).unwrap_or_default()
        };
        let rates = |name: &str, what| self.0.get(name).map(|times| of(times, what)).unwrap_or_default();
        let ratio = |what, other: &[f64]| ratio(&rates("Davit", what), other);
        Summary {
            start_to_bare: ratio(start, &best(start)),
            start_to_swarm: ratio(start, &rates("Swarm mode", start)),
            stop_to_bare: ratio(stop, &best(stop)),
            stop_to_swarm: ratio(stop, &rates("Swarm mode", stop)),
            rows: rows.collect(),
        }
    }
}

fn spread(mut rates: Vec<f64>) -> Rate {
    rates.sort_by(f64::total_cmp);
    let at = |place: usize| rounded(rates.get(place).copied().unwrap_or(0.0), 100.0);
    Rate { median: at(rates.len() / 2), least: at(0), most: at(rates.len().saturating_sub(1)) }
}

fn ratio(own: &[f64], other: &[f64]) -> Option<Rate> {
    let pairs: Vec<f64> = own.iter().zip(other).map(|(own, other)| own / other).collect();
    if pairs.is_empty() {
        return None;
    }
    let pairs = spread(pairs);
    Some(Rate { median: rounded(spread(own.to_vec()).median / spread(other.to_vec()).median, 100.0), ..pairs })
}

/// The table, for people.
pub(super) fn print(summary: &Summary, singles: Option<&Singles>) {
    println!(
        "\n{:<24} {:>10} {:>15} {:>11} {:>10} {:>15} {:>11}",
        "", "started/s", "(spread)", "CPU ms each", "stopped/s", "(spread)", "CPU ms each"
    );
    for Row { name, started_per_s, start_cpu_ms, stopped_per_s, stop_cpu_ms } in &summary.rows {
        let spread = |rate: &Rate| format!("{:.1} to {:.1}", rate.least, rate.most);
        println!(
            "{name:<24} {:>10.2} {:>15} {start_cpu_ms:>11.1} {:>10.2} {:>15} {stop_cpu_ms:>11.1}",
            started_per_s.median,
            spread(started_per_s),
            stopped_per_s.median,
            spread(stopped_per_s)
        );
    }
    let tell = |what: &str, ratio: Option<Rate>, budget: f64| {
        if let Some(Rate { median, least, most }) = ratio {
            let reached = if median >= budget { "reached" } else { "NOT REACHED" };
            println!("{what} {median:.2} ({least:.2} to {most:.2}), budget {budget:.2}: {reached}");
        }
    };
    tell("Davit starts by the bare API at its best:", summary.start_to_bare, 0.95);
    tell("Davit starts by Swarm mode:", summary.start_to_swarm, 2.0);
    tell("Davit stops by the bare API at its best:", summary.stop_to_bare, 0.95);
    tell("Davit stops by Swarm mode:", summary.stop_to_swarm, 2.0);
    if let Some(singles) = singles {
        println!("{singles}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rounds: &[(&str, u64, u64)]) -> Figures {
        let mut figures = Figures::default();
        for (name, start, stop) in rounds {
            let (start, stop) = (Duration::from_secs(*start), Duration::from_secs(*stop));
            let times = Times { start, start_cpu_s: 1.0, stop, stop_cpu_s: 1.0 };
            figures.add((*name).to_owned(), times);
        }
        figures
    }

    #[test]
    fn the_bare_api_counts_with_the_number_at_once_whose_middle_is_best() {
        let bare = |at_once: &'static str, starts: [u64; 3]| starts.map(|start| (at_once, start, 1));
        let rounds = [bare("bare API, 4 at once", [5, 20, 20]), bare("bare API, 8 at once", [10, 10, 8])];
        let rounds = rounds.concat().into_iter().chain([("Davit", 10, 1), ("Davit", 20, 1), ("Davit", 20, 1)]);
        let summary = figures(&rounds.collect::<Vec<_>>()).summary(40);
        let ratio = summary.start_to_bare.unwrap();
        assert_eq!((ratio.median, ratio.least, ratio.most), (0.5, 0.4, 1.0));
        assert_eq!(summary.stop_to_bare.unwrap().median, 1.0);
        assert_eq!(summary.start_to_swarm, None);
    }

    #[test]
    fn rates_are_those_of_the_middle_round() {
        let summary = figures(&[("Davit", 4, 1), ("Davit", 40, 1), ("Davit", 10, 1)]).summary(40);
        assert_eq!(summary.rows[0].started_per_s, Rate { median: 4.0, least: 1.0, most: 10.0 });
    }
}
