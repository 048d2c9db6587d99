//! What needs no question, since the engine has told it a moment ago. Each question takes a millisecond of an engine that has
//! nothing else to do, for every container that is started.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// An engine that has answered so lately does not hang: it is checked every two seconds. A create that hangs can't be taken back.
const ANSWERS: Duration = Duration::from_secs(5);
/// More images than a node starts containers of.
const MOST_IMAGES: usize = 1000;

/// What the engine has told lately.
#[derive(Debug, Default)]
pub(super) struct Lately(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    answered_at: Option<Instant>,
    /// Of which containers were created, and none could not be since.
    images: HashSet<String>,
}

impl Lately {
    /// It has answered anything.
    pub(super) fn answered(&self) {
        self.0.lock().answered_at = Some(Instant::now());
    }

    /// It has made a container of this image.
    pub(super) fn used(&self, image: &str) {
        let images = &mut self.0.lock().images;
        if images.contains(image) {
            return;
        }
        if images.len() >= MOST_IMAGES {
            images.clear();
        }
        images.insert(image.to_owned());
    }

    /// It has no such image.
    pub(super) fn lacks(&self, image: &str) {
        self.0.lock().images.remove(image);
    }

    /// Whether it has the image and answers, as far as can be told without asking. A create tells if somebody has removed the image.
    pub(super) fn has(&self, image: &str) -> bool {
        let told = self.0.lock();
        told.answered_at.is_some_and(|at| at.elapsed() < ANSWERS) && told.images.contains(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_image_is_there_while_the_engine_answers_and_makes_containers_of_it() {
        let lately = Lately::default();
        lately.used("a");
        assert!(!lately.has("a"), "it has never answered");
        lately.answered();
        assert!(lately.has("a") && !lately.has("b"));
        tokio::time::advance(ANSWERS).await;
        assert!(!lately.has("a"), "it may hang");
        lately.answered();
        assert!(lately.has("a"));
        lately.lacks("a");
        assert!(!lately.has("a"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let lately = Lately::default();
        lately.answered();
        for number in 0..=MOST_IMAGES {
            lately.used(&number.to_string());
        }
        assert!(lately.0.lock().images.len() <= MOST_IMAGES && lately.has(&MOST_IMAGES.to_string()));
    }
}
