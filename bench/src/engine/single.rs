//! How long one container takes that is started alone: by the bare API, and by Davit, in turns. Of what Davit takes the engine has
//! the time that it needs to create and start this very container, from the worker's call to its answer; the rest is Davit's own
//! share: request, placement, assignment, the worker's look at the image, its note on the disk, its look at what runs, and the way
//! back to a client that watches. What Davit takes longer than the bare API is told too: that differs by what the engine needs from
//! one container to the next.

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
    /// Of it the engine's part.
    davit_engine: Spread,
    /// The rest.
    own_share: Spread,
    /// What the middle and the slowest take longer with Davit than by the bare API.
    over_bare_p50_ms: f64,
    over_bare_p99_ms: f64,
}

impl fmt::Display for Singles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { containers, bare, davit, davit_engine, own_share, over_bare_p50_ms, over_bare_p99_ms } = self;
        writeln!(f, "{containers} started alone: bare API {bare}; Davit {davit}, of which the engine {davit_engine}")?;
        writeln!(f, "Davit over the bare API: {over_bare_p50_ms:.1} ms, p99 {over_bare_p99_ms:.1} ms")?;
        let reached = own_share.p50_ms <= BUDGET_P50_MS && own_share.p99_ms <= BUDGET_P99_MS;
        let reached = if reached { "reached" } else { "NOT REACHED" };
        write!(f, "Davit's own share: {own_share}, budget {BUDGET_P50_MS} and {BUDGET_P99_MS} ms: {reached}")
    }
}

/// Starts so many by each, and removes each before the next.
pub(super) async fn measure(host: &Host, davit: &mut Davit, containers: u32) -> Result<Singles, Error> {
    let (mut bare_times, mut davit_times): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    let mut engine_times: Vec<Duration> = Vec::new();
    for _ in 0..containers {
        let began = Instant::now();
        let id = create_and_start(host).await?;
        bare_times.push(began.elapsed());
        host.remove(&id).await?;
        let before = davit.engine_time().await?;
        let samples = Samples::quiet(&mut davit.control.client, &spec(), 1).await?;
        davit_times.extend(&samples.running);
        let engine_time = davit.engine_time().await?.saturating_sub(before);
        if engine_time.is_zero() {
            return Err(Error::WrongAnswer("the worker does not count what its engine takes".to_owned()));
        }
        engine_times.push(engine_time);
        for task_id in samples.task_ids {
            davit.control.client.delete(task_id).await?;
        }
        host.until(&davit_label(), true, 0).await?;
    }
    let own_times = davit_times.iter().zip(&engine_times).map(|(all, engine)| all.saturating_sub(*engine)).collect();
    let (bare, davit) = (Spread::of(bare_times), Spread::of(davit_times));
    Ok(Singles {
        containers,
        bare,
        davit,
        davit_engine: Spread::of(engine_times),
        own_share: Spread::of(own_times),
        over_bare_p50_ms: rounded(davit.p50_ms - bare.p50_ms, 100.0),
        over_bare_p99_ms: rounded(davit.p99_ms - bare.p99_ms, 100.0),
    })
}
