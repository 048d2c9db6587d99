//! Where new ids come from.

use davit_core::id::{ClusterId, NodeId, SessionId, TaskId};
use parking_lot::Mutex;
use uuid::Uuid;

/// Makes ids. Each is greater than every one it made before.
pub trait IdSource: Send + Sync {
    /// The next raw id.
    fn next_uuid(&self) -> Uuid;

    /// A new task's id.
    fn task_id(&self) -> TaskId {
        TaskId(self.next_uuid())
    }

    /// A new node's id.
    fn node_id(&self) -> NodeId {
        NodeId(self.next_uuid())
    }

    /// A new cluster's id.
    fn cluster_id(&self) -> ClusterId {
        ClusterId(self.next_uuid())
    }

    /// A new session's id.
    fn session_id(&self) -> SessionId {
        SessionId(self.next_uuid())
    }
}

/// UUIDv7 from the machine's clock and randomness; growing also within one millisecond.
#[derive(Debug, Clone, Copy, Default)]
pub struct UuidV7Source;

impl IdSource for UuidV7Source {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that the ban points to")]
    fn next_uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The same ids in the same order for the same seed: for tests and simulation.
#[derive(Debug)]
pub struct SeededSource {
    seed: u64,
    made: Mutex<u64>,
}

impl SeededSource {
    /// A source that starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, made: Mutex::new(0) }
    }
}

impl IdSource for SeededSource {
    fn next_uuid(&self) -> Uuid {
        let mut made = self.made.lock();
        *made += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&splitmix(self.seed ^ splitmix(*made)).to_be_bytes());
        // The count takes the place of the time, which keeps the ids in order.
        uuid::Builder::from_unix_timestamp_millis(*made, &random).into_uuid()
    }
}

/// SplitMix64: spreads one number over all bits.
fn splitmix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_grows(source: &dyn IdSource) {
        let ids: Vec<_> = (0..1000).map(|_| source.task_id()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.iter().all(|id| id.0.get_version_num() == 7));
    }

    #[test]
    fn ids_grow() {
        assert_grows(&UuidV7Source);
        assert_grows(&SeededSource::new(1));
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        assert_eq!(SeededSource::new(7).node_id(), SeededSource::new(7).node_id());
        assert_ne!(SeededSource::new(7).node_id(), SeededSource::new(8).node_id());
    }
}
