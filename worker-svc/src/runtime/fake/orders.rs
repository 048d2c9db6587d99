//! The orders in a spec's labels, and what an engine does without any. Pure.

use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::spec::TaskSpec;

use crate::runtime::{Error, Probed};

/// What a fake attempt is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Orders {
    pub(super) run_for: Option<Duration>,
    pub(super) exit_code: i32,
    pub(super) oom_killed: bool,
    pub(super) ignores_stop: bool,
    pub(super) pull_for: Duration,
    pub(super) pull_fails: Option<String>,
    pub(super) create_fails: Option<String>,
    pub(super) start_fails: Option<String>,
    pub(super) log: Option<String>,
    pub(super) healthy_after: Duration,
    pub(super) unhealthy_after: Option<Duration>,
    pub(super) probe_for: Duration,
}

/// What an engine does with attempts that have no orders of their own.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Habits {
    /// So long a start takes.
    pub start_for: Duration,
    /// After so long an attempt ends by itself; `None`: it runs until it is stopped.
    pub run_for: Option<Duration>,
    /// So many of a thousand attempts end with exit code 1 as soon as they run, always the same ones.
    pub failures_per_mille: u16,
}

impl Habits {
    fn orders_for(&self, key: AttemptKey) -> Orders {
        // The last bytes of an id are random.
        let [.., high, low] = *key.task_id.0.as_bytes();
        let drawn = (u32::from(u16::from_be_bytes([high, low])) + key.attempt.0 * 7919) % 1000;
        match drawn < u32::from(self.failures_per_mille) {
            true => Orders { run_for: Some(Duration::ZERO), exit_code: 1, ..Orders::default() },
            false => Orders { run_for: self.run_for, ..Orders::default() },
        }
    }
}

impl Orders {
    /// What a probe shows so long after the start.
    pub(super) fn probed(&self, since_start: Duration) -> Probed {
        if since_start < self.healthy_after {
            return Probed::Failing("is not ready yet".to_owned());
        }
        match self.unhealthy_after {
            Some(after) if since_start >= after => Probed::Failing("is out of order".to_owned()),
            Some(_) | None => Probed::Healthy,
        }
    }

    /// Reads the labels that start with `fake.`; what they do not say goes by the habits.
    pub(super) fn parse(spec: &TaskSpec, key: AttemptKey, habits: &Habits) -> Result<Self, Error> {
        let mut orders = habits.orders_for(key);
        for (label, value) in &spec.labels {
            let Some(order) = label.strip_prefix("fake.") else { continue };
            match order {
                "run_for_ms" => orders.run_for = Some(Duration::from_millis(number(label, value)?)),
                "exit_code" => orders.exit_code = number(label, value)?,
                "oom" => orders.oom_killed = number(label, value)?,
                "ignores_stop" => orders.ignores_stop = number(label, value)?,
                "pull_ms" => orders.pull_for = Duration::from_millis(number(label, value)?),
                "pull_fails" => orders.pull_fails = Some(value.clone()),
                "create_fails" => orders.create_fails = Some(value.clone()),
                "start_fails" => orders.start_fails = Some(value.clone()),
                "healthy_after_ms" => orders.healthy_after = Duration::from_millis(number(label, value)?),
                "unhealthy_after_ms" => orders.unhealthy_after = Some(Duration::from_millis(number(label, value)?)),
                "probe_ms" => orders.probe_for = Duration::from_millis(number(label, value)?),
                "log" => orders.log = Some(value.clone()),
                _ => return Err(Error::Unsupported { what: format!("the fake runtime knows no order {label}") }),
            }
        }
        Ok(orders)
    }
}

fn number<T: std::str::FromStr>(label: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| Error::Unsupported { what: format!("the fake runtime can't read {label}={value}") })
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use davit_core::spec::{ProcessSpec, RuntimeSpec};
    use uuid::Uuid;

    use super::*;

    fn spec(label: &str, value: &str) -> TaskSpec {
        let labels = [(label.to_owned(), value.to_owned())].into();
        TaskSpec { labels, ..TaskSpec::new("fake", RuntimeSpec::Process(ProcessSpec::new(Vec::new()))) }
    }

    fn key(number: u128) -> AttemptKey {
        AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt::FIRST }
    }

    #[test]
    fn a_misspelt_order_is_refused_and_other_labels_are_not() {
        let parse = |label, value| Orders::parse(&spec(label, value), key(1), &Habits::default());
        assert!(parse("fake.exit_cod", "3").is_err());
        assert!(parse("fake.exit_code", "three").is_err());
        assert_eq!(parse("fake.exit_code", "3").unwrap().exit_code, 3);
        assert_eq!(parse("tier", "web").unwrap(), Orders::default());
    }

    #[test]
    fn without_orders_an_engine_has_its_habits_and_as_many_fail_as_are_to() {
        let habits = Habits { run_for: Some(Duration::from_secs(5)), failures_per_mille: 100, ..Habits::default() };
        let plain = spec("tier", "web");
        let all: Vec<_> = (0..10_000u128).map(|number| Orders::parse(&plain, key(number), &habits).unwrap()).collect();
        let failed = all.iter().filter(|orders| orders.exit_code == 1).count();
        assert!((900..=1100).contains(&failed), "{failed} of 10000");
        assert!(all.iter().all(|orders| orders.run_for
            == Some(match orders.exit_code {
                0 => Duration::from_secs(5),
                _ => Duration::ZERO,
            })));
        let ordered = Orders::parse(&spec("fake.run_for_ms", "7"), key(500), &habits).unwrap();
        assert_eq!(ordered.run_for, Some(Duration::from_millis(7)), "an order comes before a habit");
    }
}
