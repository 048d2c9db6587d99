//! The orders in a spec's labels. Pure.

use std::time::Duration;

use davit_core::spec::TaskSpec;

use crate::runtime::Error;

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
}

impl Orders {
    /// Reads the labels that start with `fake.`.
    pub(super) fn parse(spec: &TaskSpec) -> Result<Self, Error> {
        let mut orders = Self::default();
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

    use davit_core::spec::{ProcessSpec, RuntimeSpec};

    use super::*;

    fn spec(label: &str, value: &str) -> TaskSpec {
        let labels = [(label.to_owned(), value.to_owned())].into();
        TaskSpec { labels, ..TaskSpec::new("fake", RuntimeSpec::Process(ProcessSpec::new(Vec::new()))) }
    }

    #[test]
    fn a_misspelt_order_is_refused_and_other_labels_are_not() {
        assert!(Orders::parse(&spec("fake.exit_cod", "3")).is_err());
        assert!(Orders::parse(&spec("fake.exit_code", "three")).is_err());
        assert_eq!(Orders::parse(&spec("fake.exit_code", "3")).unwrap().exit_code, 3);
        assert_eq!(Orders::parse(&spec("tier", "web")).unwrap(), Orders::default());
    }
}
