//! Which part of a measurement goes on: what is recorded beside it, such as a profile, can be told by phase.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// When nothing is measured any more.
pub(crate) const END: &str = "end";

/// Says that a phase begins, and with it that the one before has ended. The clock is the kernel's monotonic one, which others read too.
pub(crate) fn begin(name: &str) {
    // Every kernel has this clock; without a time nobody would read the line.
    if let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) {
        println!("{}", line(now.into(), name));
    }
}

fn line(now: Duration, name: &str) -> String {
    format!("phase at {:.6} s: {name}", now.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_time_and_the_name() {
        assert_eq!(line(Duration::from_micros(12_345_678), "bulk"), "phase at 12.345678 s: bulk");
    }
}
