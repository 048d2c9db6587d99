//! Axes: where a value lies, and which values are labelled.

use crate::report::table::thousands;

/// One axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Axis {
    /// Between two values of a 1-2-5 series.
    Log { least: f64, most: f64 },
    /// From 0.
    Linear { most: f64, step: f64 },
}

/// About so many ticks has a linear axis.
const TICKS: f64 = 5.0;

impl Axis {
    /// A logarithmic one that shows all these.
    pub(super) fn log(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (smallest, largest) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max));
        let series = series();
        let at_most = |value: f64| series.iter().rev().find(|step| **step <= value * (1.0 + 1e-9)).copied();
        let at_least = |value: f64| series.iter().find(|step| **step >= value * (1.0 - 1e-9)).copied();
        let (least, most) = (at_most(smallest).unwrap_or(1e-3), at_least(largest).unwrap_or(1e9));
        // One value alone lies in the middle.
        if most > least { Self::Log { least, most } } else { Self::Log { least: least / 10.0, most: most * 10.0 } }
    }

    /// One from 0 that shows all these.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let largest = values.fold(0.0, f64::max).max(1e-3);
        let step = series().into_iter().find(|step| *step >= largest / TICKS).unwrap_or(largest);
        Self::Linear { most: (largest / step).ceil() * step, step }
    }

    /// Where a value lies: 0 at the beginning, 1 at the end.
    pub(super) fn place(self, value: f64) -> f64 {
        match self {
            Self::Log { least, most } => (value / least).ln() / (most / least).ln(),
            Self::Linear { most, .. } => value / most,
        }
    }

    /// What is labelled. On a logarithmic axis only decades, if there is no room for so many as all steps.
    pub(super) fn ticks(self, room: usize) -> Vec<f64> {
        match self {
            Self::Log { least, most } => {
                let is_decade = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-9;
                let inside = |step: &f64| (least * 0.999..=most * 1.001).contains(step);
                let mut steps: Vec<_> = series().into_iter().filter(inside).collect();
                if steps.len() > room {
                    steps.retain(|step| is_decade(*step));
                }
                steps
            }
            Self::Linear { most, step } => {
                let count = (most / step).round() as u32;
                (0..=count).map(|number| f64::from(number) * step).collect()
            }
        }
    }
}

/// `20,000`, `0.5`
pub(super) fn label(value: f64) -> String {
    if value >= 10.0 || (value - value.round()).abs() < 1e-9 {
        return thousands(value.round() as u64);
    }
    format!("{value:.3}").trim_end_matches('0').to_owned()
}

/// 0.001, 0.002, 0.005, 0.01 … 5,000,000,000.
fn series() -> Vec<f64> {
    (-3..10).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks(8).into_iter().map(label).collect()
    }

    #[test]
    fn a_logarithmic_axis_reaches_from_step_to_step_and_labels_decades_if_there_is_no_room_for_more() {
        let axis = Axis::log([1.3, 90.0].into_iter());
        assert_eq!(axis, Axis::Log { least: 1.0, most: 100.0 });
        assert_eq!(labels(axis), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(Axis::log([200.0, 1_010_400.0].into_iter())), ["1,000", "10,000", "100,000", "1,000,000"]);
        assert_eq!([10.0, 100.0, 1.0].map(|value| (axis.place(value) * 100.0).round()), [50.0, 100.0, 0.0]);
    }

    #[test]
    fn one_value_alone_lies_in_the_middle() {
        let axis = Axis::log([1_000.0].into_iter());
        assert!((axis.place(1_000.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_linear_axis_begins_at_nothing() {
        let axis = Axis::linear([0.3, 2.6].into_iter());
        assert_eq!(labels(axis), ["0", "1", "2", "3"]);
        assert_eq!(labels(Axis::linear([0.7].into_iter())), ["0", "0.2", "0.4", "0.6", "0.8"]);
    }
}
