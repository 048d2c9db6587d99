//! Makes room on an engine's disk: removes images that nobody needs any more, and when the disk is full also what ended attempts
//! left, before their retention has passed.
//!
//! Only images that this worker pulled itself, which its store tells, and which bear no name that somebody else gave them. What
//! is in use by any container of the engine is left alone, also by the engine itself: removals are never forced. An image that
//! goes while a task is about to need it is pulled anew.

pub mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use self::plan::{DiskUse, Image, Limits, Why};
use crate::agent::Agent;
use crate::node::Node;
use crate::runtime::{EngineImage, Error, Images};

/// A use is noted when the one noted before is so long ago: it is looked at much oftener than it matters.
const NOTE_PERIOD: Duration = Duration::from_secs(600);

/// When things are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How often it is looked whether there is something to collect.
    pub period: Duration,
    /// Which images are collected.
    pub images: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { period: Duration::from_secs(60), images: Limits::default() }
    }
}

/// Looks again and again. Never ends.
pub(crate) async fn run(node: Arc<Node>) {
    let settings = node.config.collection;
    loop {
        tokio::time::sleep(settings.period).await;
        let Some(agent) = node.agent() else { continue };
        if let Err(error) = collect(&agent, &settings.images, node.world.clock.now()).await {
            tracing::debug!(%error, "can't look for images to collect");
        }
    }
}

/// Looks once. A worker that is not in charge of its node removes nothing: what is here may be another worker's, with whom it shares
/// the engine.
///
/// # Errors
/// When the engine does not tell what is needed to know what is in use; nothing was removed on a guess.
pub async fn collect(agent: &Agent, limits: &Limits, now: Timestamp) -> Result<(), Error> {
    if !agent.is_in_charge() {
        return Ok(());
    }
    for runtime in agent.runtimes() {
        let Some(images) = runtime.images() else { continue };
        let disk = images.disk().await?;
        if plan::is_pressed(disk, limits) {
            agent.retire_ended(limits.min_ended_age);
        }
        collect_images(agent, images, disk, limits, now).await?;
    }
    Ok(())
}

async fn collect_images(
    agent: &Agent,
    images: &dyn Images,
    disk: Option<DiskUse>,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), Error> {
    let pulled = agent.pulled_images();
    if pulled.is_empty() {
        return Ok(());
    }
    let there = images.list().await?;
    let mut needed = BTreeSet::new();
    for reference in agent.needed_images() {
        needed.extend(images.id_of(&reference).await?);
    }
    let mut known = Vec::new();
    for (id, record) in pulled {
        let Some(image) = there.iter().find(|image| image.id == id) else {
            // Somebody else has removed it.
            agent.forget_image(&id);
            continue;
        };
        let used = image.used || needed.contains(&id);
        let unnoted = Duration::try_from(now.duration_since(record.last_used)).unwrap_or_default();
        if used && unnoted >= NOTE_PERIOD.min(limits.min_age) {
            agent.note_image_use(&id, now);
        }
        let in_use = used || !image.names.is_subset(&record.names);
        let last_used = if used { now } else { record.last_used };
        known.push(Image { id, size_bytes: image.size_bytes, in_use, last_used });
    }
    for (Image { id, size_bytes, .. }, why) in plan::plan(&known, disk, limits, now) {
        let Some(image) = there.iter().find(|image| image.id == *id) else { continue };
        remove(agent, images, image, *size_bytes, why).await;
    }
    Ok(())
}

async fn remove(agent: &Agent, images: &dyn Images, image: &EngineImage, size_bytes: u64, why: Why) {
    let (id, names) = (image.id.as_str(), image.names.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    match images.remove(image).await {
        Ok(true) => {
            tracing::info!(id, names, size_bytes, %why, "removed an image");
            metrics::counter!("davit_worker_images_removed_total", "why" => why.to_string()).increment(1);
            agent.forget_image(id);
        }
        Ok(false) => tracing::debug!(id, names, "an image is in use after all"),
        Err(error) => tracing::warn!(id, names, %error, "can't remove an image"),
    }
}
