//! What the agent knows of images: which it pulled, and which its attempts need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::spec::{ImageReference, RuntimeSpec};
use jiff::Timestamp;

use super::Agent;
use crate::local_store::ImageRecord;
use crate::runtime::{PulledImage, Runtime};

impl Agent {
    /// All that runs attempts.
    pub(crate) fn runtimes(&self) -> &[Arc<dyn Runtime>] {
        &self.runtimes
    }

    /// A pull brought an image, or new names for one; each who waited for it says so. An image that somebody else brought stays theirs.
    pub(super) fn keep_image(&self, pulled: PulledImage) {
        let PulledImage { id, names, is_new } = pulled;
        let now = self.world.clock.now();
        self.store.note_image(&id, |known| match known {
            Some(record) => Some(ImageRecord { names: &record.names | &names, last_used: now }),
            None => is_new.then(|| {
                tracing::info!(id, ?names, "pulled an image");
                ImageRecord { names: names.clone(), last_used: now }
            }),
        });
    }

    /// The images that this worker pulled, by the engine's id of each.
    #[must_use]
    pub fn pulled_images(&self) -> BTreeMap<String, ImageRecord> {
        self.store.images()
    }

    /// Notes when an image was last seen in use.
    pub(crate) fn note_image_use(&self, id: &str, now: Timestamp) {
        self.store.note_image(id, |known| known.map(|record| ImageRecord { last_used: now, ..record.clone() }));
    }

    /// An image is gone.
    pub(crate) fn forget_image(&self, id: &str) {
        self.store.note_image(id, |_| None);
    }

    /// The images that attempts need which are held here and have not ended.
    pub(crate) fn needed_images(&self) -> BTreeSet<ImageReference> {
        let state = self.state.lock();
        let needed = state.held.values().filter(|held| held.ended_at.is_none()).filter_map(|held| {
            let wanted = held.orders.borrow();
            match &wanted.spec.as_ref()?.runtime {
                RuntimeSpec::Container(container) => Some(container.image.clone()),
                RuntimeSpec::Process(_) => None,
            }
        });
        needed.collect()
    }
}
