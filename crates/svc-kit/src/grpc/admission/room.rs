//! Bytes that may be held at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicU64,
    bytes: u64,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        Self { taken: AtomicU64::new(0), bytes }
    }
}

/// What one call has taken of it; given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    room: Arc<Room>,
    bytes: AtomicU64,
}

impl Taken {
    pub(super) fn nothing_of(room: &Arc<Room>) -> Self {
        Self { room: Arc::clone(room), bytes: AtomicU64::new(0) }
    }

    /// Takes so many more. False when there is not so much left; then nothing more is taken.
    pub(super) fn take(&self, more: u64) -> bool {
        let fits = |taken: u64| taken.checked_add(more).filter(|sum| *sum <= self.room.bytes);
        let took = self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if took {
            self.bytes.fetch_add(more, Ordering::Relaxed);
        }
        took
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_and_given_back() {
        let room = Arc::new(Room::new(100));
        let (first, second) = (Taken::nothing_of(&room), Taken::nothing_of(&room));
        assert!(first.take(60) && second.take(40));
        assert!(!second.take(1) && !first.take(u64::MAX));
        drop(first);
        assert!(second.take(60));
        drop(second);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
