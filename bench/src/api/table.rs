//! The table for people.

use super::calls::Call;
use super::figures::{LIMIT, Outcome, Rate, Times};
use crate::report::table::thousands;

/// The columns.
pub(super) fn header() {
    println!(
        "requests are sent at a fixed rate whether or not earlier ones were answered, by this process, beside all others on \
         this machine;\ntimes count from the moment in which a request was due; those of WatchEvents until all watchers, \
         and until half of them,\nhave the event of a create; cores: used on average by the manager, and by this process\n"
    );
    println!(
        "{:<12} {:>10} {:>11} {:>9} {:>9} {:>9} {:>12} {:>12} {:>9} {:>9}",
        "call",
        "requests/s",
        "answered/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "half p50 ms",
        "half p99 ms",
        "mgr cores",
        "own cores"
    );
}

/// One rate, as soon as it is known.
pub(super) fn rate(call: Call, rate: &Rate) {
    let Times { p50_ms, p99_ms, max_ms } = rate.times;
    let half = |figure: fn(Times) -> f64| {
        rate.half_of_watchers.map_or_else(|| "-".to_owned(), |times| format!("{:.2}", figure(times)))
    };
    let outcome = match rate.outcome {
        Outcome::Kept => "kept".to_owned(),
        Outcome::Slow => format!("p99 OVER {} ms", LIMIT.as_millis()),
        Outcome::Refused => "SOME REFUSED".to_owned(),
        Outcome::NotReached => "NOT REACHED".to_owned(),
    };
    println!(
        "{:<12} {:>10} {:>11} {p50_ms:>9.2} {p99_ms:>9.2} {max_ms:>9.2} {:>12} {:>12} {:>9.2} {:>9.2}  {outcome}",
        call.name(),
        thousands(rate.requests_per_s),
        thousands(rate.answered_per_s.round() as u64),
        half(|times| times.p50_ms),
        half(|times| times.p99_ms),
        rate.manager_cores,
        rate.client_cores,
    );
}
