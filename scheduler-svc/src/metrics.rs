//! What the scheduler counts.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const BATCHES: &str = "davit_scheduler_batches_total";
const PLACEMENTS: &str = "davit_scheduler_placements_total";
const UNPLACED: &str = "davit_scheduler_unplaced_total";
const BATCH_SECONDS: &str = "davit_scheduler_batch_seconds";
const RECORD_GAPS: &str = "davit_scheduler_record_gaps_total";
const STREAMS: &str = "davit_scheduler_streams";

/// Says what the names mean, and makes them appear before anything happened.
pub(crate) fn describe() {
    describe_counter!(BATCHES, "Batches answered on placement streams");
    describe_counter!(PLACEMENTS, "Tasks for which a node was found");
    describe_counter!(UNPLACED, "Tasks for which no node was found; a task that is asked for again counts again");
    describe_histogram!(BATCH_SECONDS, Unit::Seconds, "Time from reading a batch to having its answer");
    describe_counter!(RECORD_GAPS, "Times that something of a stream was not recorded");
    describe_gauge!(STREAMS, "Placement streams that are open");
    for name in [BATCHES, PLACEMENTS, UNPLACED, RECORD_GAPS] {
        counter!(name).absolute(0);
    }
    gauge!(STREAMS).increment(0.0);
}

/// Counts one answered batch.
pub(crate) fn batch(placed: u64, unplaced: u64, took: Duration) {
    counter!(BATCHES).increment(1);
    counter!(PLACEMENTS).increment(placed);
    counter!(UNPLACED).increment(unplaced);
    histogram!(BATCH_SECONDS).record(took);
}

/// Counts one time that something of a stream was not recorded.
pub(crate) fn record_gap() {
    counter!(RECORD_GAPS).increment(1);
}

/// Counts one placement stream for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenStream(());

impl OpenStream {
    pub(crate) fn count() -> Self {
        gauge!(STREAMS).increment(1.0);
        Self(())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!(STREAMS).decrement(1.0);
    }
}
