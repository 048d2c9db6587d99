//! What waits to be written, bounded in bytes. The channel beneath has no bound of its own and needs none: nothing is put into it
//! without room, which every entry takes, however small.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

/// Encoded snapshots that wait, and as much of all else. Two bounds, so that what follows a large snapshot at once has room.
const WAITING_BYTES: u64 = 64 << 20;
/// About what an entry takes beside its bytes.
const ENTRY_OVERHEAD: u64 = 96;

/// What the writer is to do.
#[derive(Debug)]
pub(super) enum Job {
    Write(Waiting),
    /// Write the end, and no more.
    End,
}

/// An entry, and the file that it is meant for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) file: u64,
    pub(super) kind: Kind,
    /// Encoded.
    pub(super) entry: Vec<u8>,
    /// Given back when it is written.
    _room: Taken,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot,
    Delta,
    Batch,
}

/// Where streams put their entries.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    jobs: Sender<Job>,
    snapshots: Arc<Room>,
    others: Arc<Room>,
}

impl Queue {
    pub(super) fn new() -> (Self, Receiver<Job>) {
        Self::with_room(WAITING_BYTES)
    }

    pub(super) fn with_room(bytes: u64) -> (Self, Receiver<Job>) {
        let (jobs, receiver) = std::sync::mpsc::channel();
        let room = || Arc::new(Room { taken: AtomicU64::new(0), bytes });
        (Self { jobs, snapshots: room(), others: room() }, receiver)
    }

    /// Whether a snapshot may have room, and much of what follows it; to find out costs less than to make it.
    pub(super) fn may_take_snapshot(&self) -> bool {
        let taken = |room: &Room| room.taken.load(Ordering::Relaxed);
        taken(&self.snapshots) < self.snapshots.bytes && taken(&self.others) <= self.others.bytes / 2
    }

    /// Whether there was room, and somebody is there to write.
    pub(super) fn push(&self, file: u64, kind: Kind, entry: Vec<u8>) -> bool {
        let room = if kind == Kind::Snapshot { &self.snapshots } else { &self.others };
        let Some(room) = Room::take(room, entry.len() as u64 + ENTRY_OVERHEAD) else { return false };
        self.jobs.send(Job::Write(Waiting { file, kind, entry, _room: room })).is_ok()
    }

    /// Ends the recording after all that waits.
    pub(super) fn end(&self) {
        // When nobody writes any more, it has ended.
        let _ = self.jobs.send(Job::End);
    }
}

/// Bytes that may wait.
#[derive(Debug)]
struct Room {
    taken: AtomicU64,
    bytes: u64,
}

impl Room {
    /// What is larger than all the room gets it when it is empty.
    fn take(room: &Arc<Self>, bytes: u64) -> Option<Taken> {
        let fits = |taken: u64| (taken == 0 || taken + bytes <= room.bytes).then_some(taken + bytes);
        room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Taken { room: Arc::clone(room), bytes })
    }
}

/// Room that is given back when this is dropped.
#[derive(Debug)]
struct Taken {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_bounded_and_not_entries() {
        let (queue, jobs) = Queue::with_room(1000);
        let push = |kind, length| queue.push(0, kind, vec![0; length]);
        assert!(push(Kind::Delta, 400) && push(Kind::Batch, 300));
        assert!(!push(Kind::Batch, 200));
        // Room of its own; what is too large for it has it to itself.
        assert!(push(Kind::Snapshot, 5000) && !push(Kind::Snapshot, 1));
        // What was written makes room.
        assert!(!queue.may_take_snapshot());
        drop(jobs.recv().unwrap());
        assert!(!queue.may_take_snapshot());
        drop([jobs.recv().unwrap(), jobs.recv().unwrap()]);
        assert!(queue.may_take_snapshot());
        assert!(push(Kind::Batch, 800) && push(Kind::Snapshot, 1));
    }

    #[test]
    fn nobody_who_writes_is_no_room() {
        let (queue, jobs) = Queue::new();
        drop(jobs);
        assert!(!queue.push(0, Kind::Delta, Vec::new()));
        queue.end();
    }
}
