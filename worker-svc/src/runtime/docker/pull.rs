//! Pulls an image, and folds the engine's stream of messages into one progress.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use davit_core::spec::ImageReference;
use davit_core::task::PullProgress;
use futures::StreamExt;
use tokio::time::Instant;

use super::error;
use crate::runtime::{Error, ProgressSender};

/// Pulls until the engine is done or makes no progress for `stall_timeout`.
pub(super) async fn run(
    engine: &Docker,
    image: &ImageReference,
    stall_timeout: Duration,
    progress: &ProgressSender,
) -> Result<(), Error> {
    let options = CreateImageOptionsBuilder::new().from_image(image.name()).tag(image.version()).build();
    // The stream owns the request: dropping it makes the engine give up the pull.
    let mut messages = engine.create_image(Some(options), None, None);
    let mut tracker = PullTracker::default();
    let mut deadline = Instant::now() + stall_timeout;
    loop {
        match tokio::time::timeout_at(deadline, messages.next()).await {
            Err(_) => return Err(Error::PullStalled { image: image.to_string(), stalled_for: stall_timeout }),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(error::pull(image.as_str(), &error)),
            Ok(Some(Ok(message))) => {
                if tracker.apply(&message) {
                    deadline = Instant::now() + stall_timeout;
                    progress.send_replace(Some(tracker.progress()));
                }
            }
        }
    }
}

/// What is known of the layers of one pull.
#[derive(Debug, Default)]
pub(super) struct PullTracker {
    layers: BTreeMap<String, Layer>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Layer {
    downloaded: u64,
    total: u64,
    /// Bytes unpacked so far. Not reported, but a sign of life.
    extracted: u64,
    status: String,
    done: bool,
}

impl PullTracker {
    /// Takes one message. True if it says anything new: a pull whose messages only repeat themselves is stalled.
    pub(super) fn apply(&mut self, message: &CreateImageInfo) -> bool {
        let status = message.status.as_deref().unwrap_or_default();
        let Some(id) = message.id.as_deref().filter(|_| is_layer_status(status)) else {
            // "Pulling from …", "Digest: …", "Status: …": each comes once.
            return true;
        };
        let layer = self.layers.entry(id.to_owned()).or_default();
        let before = layer.clone();
        layer.status = status.to_owned();
        let detail = message.progress_detail.as_ref();
        let current = detail.and_then(|detail| detail.current).and_then(|bytes| u64::try_from(bytes).ok());
        let total = detail.and_then(|detail| detail.total).and_then(|bytes| u64::try_from(bytes).ok());
        match status {
            "Downloading" => {
                layer.total = total.unwrap_or(0).max(layer.total);
                layer.downloaded = current.unwrap_or(0).max(layer.downloaded);
                // Without a total the best guess is what came.
                layer.total = layer.total.max(layer.downloaded);
            }
            "Extracting" => {
                // A layer that came faster than one "Downloading" message tells its size only here.
                layer.total = total.unwrap_or(0).max(layer.total);
                layer.downloaded = layer.total;
                layer.extracted = current.unwrap_or(0);
            }
            "Verifying Checksum" | "Download complete" => layer.downloaded = layer.total,
            "Pull complete" | "Already exists" => {
                layer.downloaded = layer.total;
                layer.done = true;
            }
            _ => {}
        }
        *layer != before
    }

    /// Sizes are what the image's registry says: they may be more than can be counted.
    fn sum(&self, bytes: impl Fn(&Layer) -> u64) -> u64 {
        self.layers.values().map(bytes).fold(0, u64::saturating_add)
    }

    /// How far the pull is.
    pub(super) fn progress(&self) -> PullProgress {
        let count = |layers: usize| u32::try_from(layers).unwrap_or(u32::MAX);
        PullProgress {
            downloaded_bytes: self.sum(|layer| layer.downloaded),
            total_bytes: self.sum(|layer| layer.total),
            layers_done: count(self.layers.values().filter(|layer| layer.done).count()),
            layers_total: count(self.layers.len()),
        }
    }
}

fn is_layer_status(status: &str) -> bool {
    matches!(
        status,
        "Pulling fs layer"
            | "Waiting"
            | "Downloading"
            | "Verifying Checksum"
            | "Download complete"
            | "Extracting"
            | "Pull complete"
            | "Already exists"
    ) || status.starts_with("Retrying in")
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn message(id: &str, status: &str, detail: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: detail
                .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn bytes_and_layers_add_up() {
        let mut tracker = PullTracker::default();
        for message in [
            message("latest", "Pulling from library/busybox", None),
            message("a", "Already exists", None),
            message("b", "Pulling fs layer", None),
            message("c", "Pulling fs layer", None),
            message("b", "Downloading", Some((40, 100))),
            message("c", "Extracting", Some((10, 30))),
        ] {
            assert!(tracker.apply(&message), "{message:?}");
        }
        let expected = PullProgress { downloaded_bytes: 70, total_bytes: 130, layers_done: 1, layers_total: 3 };
        assert_eq!(tracker.progress(), expected);
        tracker.apply(&message("b", "Pull complete", None));
        tracker.apply(&message("c", "Pull complete", None));
        let expected = PullProgress { downloaded_bytes: 130, total_bytes: 130, layers_done: 3, layers_total: 3 };
        assert_eq!(tracker.progress(), expected);
    }

    #[test]
    fn a_repeated_message_is_no_progress() {
        let mut tracker = PullTracker::default();
        assert!(tracker.apply(&message("b", "Downloading", Some((40, 100)))));
        assert!(!tracker.apply(&message("b", "Downloading", Some((40, 100)))));
        assert!(tracker.apply(&message("b", "Downloading", Some((41, 100)))));
    }
}
