//! What Davit and Swarm mode are measured by alike: replicas that leave evidence, on engines whose containers can be counted.

use std::path::Path;
use std::time::Duration;

use crate::engine::Engine;
use crate::error::{Result, io_at};
use crate::evidence::Evidence;
use crate::shell::until;
use crate::stamp::Stamp;

/// How many.
pub(super) const REPLICAS: usize = 10;
/// How long anything may take, Swarm mode's slowest included.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long it is watched whether anything else happens to them.
const WATCH: Duration = Duration::from_secs(10);

/// Waits until all of them give signs of life, and nothing else does.
///
/// # Errors
/// When they don't.
pub(super) async fn all_live(evidence: &mut Evidence, wanted: usize) -> Result<()> {
    until("the right number of replicas live", PATIENCE, async || {
        evidence.refresh().map_err(|error| error.to_string())?;
        let now = Stamp::now();
        let live = evidence.runs().filter(|run| run.lives(now)).count();
        if live == wanted { Ok(()) } else { Err(format!("{live} live")) }
    })
    .await
}

/// How many containers of replicas run on an engine.
///
/// # Errors
/// When it does not answer.
pub(super) async fn containers_on(engine: &Engine) -> Result<usize> {
    Ok(engine.docker(&["ps", "--quiet"]).await?.lines().count())
}

/// Waits until so many runs have started since `begin`, and tells how long after it the last of them did.
///
/// # Errors
/// When they don't.
pub(super) async fn replaced(evidence: &mut Evidence, begin: Stamp, count: usize) -> Result<Duration> {
    let last = until("replacements live", PATIENCE, async || {
        let mut starts = starts_since(evidence, begin).map_err(|error| error.to_string())?;
        starts.sort_unstable();
        let last = count.checked_sub(1).map_or(Some(begin), |last| starts.get(last).copied());
        last.ok_or_else(|| format!("{} of {count}", starts.len()))
    })
    .await?;
    Ok(last.since(begin))
}

/// Watches for a while, and tells how many runs have started since `begin`.
///
/// # Errors
/// When the evidence can't be read.
pub(super) async fn disturbed(evidence: &mut Evidence, begin: Stamp) -> Result<usize> {
    tokio::time::sleep(WATCH).await;
    let starts = starts_since(evidence, begin).map_err(io_at("read", Path::new("the evidence")))?;
    Ok(starts.len())
}

fn starts_since(evidence: &mut Evidence, begin: Stamp) -> std::io::Result<Vec<Stamp>> {
    evidence.refresh()?;
    Ok(evidence.runs().map(|run| run.start).filter(|start| *start >= begin).collect())
}
