//! How long one container takes that is started alone: by the bare API, and by Davit, in turns. What Davit takes longer is its own
//! share: request, placement, assignment, the worker's note on the disk, the look at what runs, and the way back to a client that
//! watches.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::bare::create_and_start;
use super::davit::{Davit, spec};
use super::host::{Host, davit_label};
use crate::error::Error;
use crate::report::json::rounded;
use crate::running::latency::{Samples, Spread};

/// Budgets of Davit's own share, in milliseconds.
const BUDGET_P50_MS: f64 = 5.0;
const BUDGET_P99_MS: f64 = 20.0;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Singles {
    containers: u32,
    /// Create and start, until the engine has answered.
    bare: Spread,
    /// From the request until a client that watches knows of RUNNING.
    davit: Spread,
    /// What the middle and the slowest take longer with Davit.
    own_share_p50_ms: f64,
    own_share_p99_ms: f64,
}

impl fmt::Display for Singles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { containers, bare, davit, own_share_p50_ms, own_share_p99_ms } = self;
        writeln!(f, "{containers} started alone: bare API {bare}; Davit {davit}")?;
        let reached = *own_share_p50_ms <= BUDGET_P50_MS && *own_share_p99_ms <= BUDGET_P99_MS;
        let reached = if reached { "reached" } else { "NOT REACHED" };
        write!(
            f,
            "Davit's own share: {own_share_p50_ms:.1} ms, p99 {own_share_p99_ms:.1} ms, budget {BUDGET_P50_MS} and {BUDGET_P99_MS} ms: {reached}"
        )
    }
}

/// Starts so many by each, and removes each before the next.
pub(super) async fn measure(host: &Host, davit: &mut Davit, containers: u32) -> Result<Singles, Error> {
    let (mut bare_times, mut davit_times): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    for _ in 0..containers {
        let began = Instant::now();
        let id = create_and_start(host).await?;
        bare_times.push(began.elapsed());
        host.remove(&id).await?;
        let samples = Samples::quiet(&mut davit.control.client, &spec(), 1).await?;
        davit_times.extend(&samples.running);
        for task_id in samples.task_ids {
            davit.control.client.delete(task_id).await?;
        }
        host.until(&davit_label(), true, 0).await?;
    }
    let (bare, davit) = (Spread::of(bare_times), Spread::of(davit_times));
    let share = |own: f64, other: f64| rounded(own - other, 100.0);
    let own_share_p50_ms = share(davit.p50_ms, bare.p50_ms);
    let own_share_p99_ms = share(davit.p99_ms, bare.p99_ms);
    Ok(Singles { containers, bare, davit, own_share_p50_ms, own_share_p99_ms })
}
