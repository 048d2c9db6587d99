//! PURE: what the rounds amount to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::single::Singles;
use crate::report::json::rounded;

/// How long one round of one contender took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// From the first word until the last container ran.
    pub(super) start: Duration,
    /// From the first word until none ran any more.
    pub(super) stop: Duration,
}

/// All rounds, by contender.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, Vec<Times>>);

/// A contender's rate, in containers a second.
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
    pub(super) stopped_per_s: Rate,
}

/// Davit's rates by another's: by the middle rounds, and by pairs of rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Summary {
    pub(super) rows: Vec<Row>,
    pub(super) start_to_bare: Option<Ratio>,
    pub(super) start_to_swarm: Option<Ratio>,
    pub(super) stop_to_bare: Option<Ratio>,
    pub(super) stop_to_swarm: Option<Ratio>,
}

impl Figures {
    pub(super) fn add(&mut self, name: String, times: Times) {
        println!(
            "  {name}: started in {:.2} s, stopped in {:.2} s",
            times.start.as_secs_f64(),
            times.stop.as_secs_f64()
        );
        self.0.entry(name).or_default().push(times);
    }

    /// Of rounds with so many containers each. The bare API counts with what was best in each round, whatever it was.
    pub(super) fn summary(&self, containers: u32) -> Summary {
        let rate = |time: Duration| f64::from(containers) / time.as_secs_f64().max(1e-9);
        let of = |times: &[Times], what: fn(&Times) -> Duration| -> Vec<f64> {
            times.iter().map(|times| rate(what(times))).collect()
        };
        let start: fn(&Times) -> Duration = |times| times.start;
        let stop: fn(&Times) -> Duration = |times| times.stop;
        let rows = self.0.iter().map(|(name, times)| Row {
            name: name.clone(),
            started_per_s: spread(of(times, start)),
            stopped_per_s: spread(of(times, stop)),
        });
        let best = |what: fn(&Times) -> Duration| -> Vec<f64> {
            let bare: Vec<_> = self.0.iter().filter(|(name, _)| name.starts_with("bare")).collect();
            let rounds = bare.iter().map(|(_, times)| times.len()).min().unwrap_or(0);
            let in_round = |round: usize| bare.iter().map(move |(_, times)| rate(what(&times[round])));
            (0..rounds).map(|round| in_round(round).fold(0.0, f64::max)).collect()
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

fn ratio(own: &[f64], other: &[f64]) -> Option<Ratio> {
    let pairs: Vec<f64> = own.iter().zip(other).map(|(own, other)| own / other).collect();
    if pairs.is_empty() {
        return None;
    }
    let Rate { least, most, .. } = spread(pairs);
    Some(Ratio { median: rounded(spread(own.to_vec()).median / spread(other.to_vec()).median, 100.0), least, most })
}

/// The table, for people.
pub(super) fn print(summary: &Summary, singles: Option<&Singles>) {
    println!("\n{:<24} {:>10} {:>15} {:>10} {:>15}", "", "started/s", "(spread)", "stopped/s", "(spread)");
    for Row { name, started_per_s, stopped_per_s } in &summary.rows {
        let spread = |rate: &Rate| format!("{:.1} to {:.1}", rate.least, rate.most);
        println!(
            "{name:<24} {:>10.2} {:>15} {:>10.2} {:>15}",
            started_per_s.median,
            spread(started_per_s),
            stopped_per_s.median,
            spread(stopped_per_s)
        );
    }
    let tell = |what: &str, ratio: Option<Ratio>, budget: f64| {
        if let Some(Ratio { median, least, most }) = ratio {
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
            let times = Times { start: Duration::from_secs(*start), stop: Duration::from_secs(*stop) };
            figures.add((*name).to_owned(), times);
        }
        figures
    }

    #[test]
    fn the_bare_api_counts_with_its_best_of_each_round() {
        let summary = figures(&[
            ("bare API, 4 at once", 5, 1),
            ("bare API, 8 at once", 10, 2),
            ("Davit", 10, 1),
            ("bare API, 4 at once", 20, 1),
            ("bare API, 8 at once", 10, 2),
            ("Davit", 10, 1),
        ])
        .summary(40);
        let ratio = summary.start_to_bare.unwrap();
        assert_eq!((ratio.least, ratio.most), (0.5, 1.0));
        assert_eq!(summary.stop_to_bare.unwrap().median, 1.0);
        assert_eq!(summary.start_to_swarm, None);
    }

    #[test]
    fn rates_are_those_of_the_middle_round() {
        let summary = figures(&[("Davit", 4, 1), ("Davit", 40, 1), ("Davit", 10, 1)]).summary(40);
        assert_eq!(summary.rows[0].started_per_s, Rate { median: 4.0, least: 1.0, most: 10.0 });
    }
}
