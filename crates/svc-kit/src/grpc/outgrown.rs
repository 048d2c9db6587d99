//! Keeps connections and streams from keeping large buffers.
//!
//! What reads or writes them goes through one buffer, which grows with the largest message and would stay so for good, in thousands
//! of sessions that say much when they begin and little later. No buffer can be told to give room back; but a new one takes its place
//! when it is full and somebody still has a hold on a part of it.

use tonic::codegen::Bytes;

/// The buffer through which so large a piece has gone is not kept for what comes later, in bytes.
pub(super) const LARGE_BYTES: usize = 4 << 10;
/// Pieces that are no further apart went through one buffer, in bytes: between them are headers of frames, and small frames.
const NEAR_BYTES: usize = 256;

/// What is known of the buffer that pieces go through.
#[derive(Debug, Default)]
pub(super) struct Outgrown {
    /// A large piece of it, so that it is left once it is full.
    held: Option<Bytes>,
    /// Where the newest piece of it ends.
    end: usize,
}

impl Outgrown {
    /// A piece has gone through.
    pub(super) fn note(&mut self, piece: &Bytes) {
        let start = piece.as_ptr().addr();
        if !(self.end..self.end.saturating_add(NEAR_BYTES)).contains(&start) {
            self.held = None;
        }
        self.end = start.saturating_add(piece.len());
        if piece.len() >= LARGE_BYTES {
            self.held = Some(piece.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::bytes::{BufMut as _, BytesMut};

    use super::*;

    /// Reads large and then small pieces into a buffer, as a connection does, and tells how large it is at most for the last of them.
    fn capacity_in_the_end(mut note: impl FnMut(&Bytes)) -> usize {
        const FRAME_HEADER: usize = 9;
        let (mut buffer, mut capacity) = (BytesMut::with_capacity(8 << 10), 0);
        for (number, length) in [100, 16_384, 12_000].into_iter().chain([80; 600]).enumerate() {
            buffer.reserve(FRAME_HEADER + length);
            buffer.put_bytes(7, FRAME_HEADER + length);
            let _ = buffer.split_to(FRAME_HEADER);
            note(&buffer.split_to(length).freeze());
            buffer.reserve(1);
            if number > 300 {
                capacity = capacity.max(buffer.capacity());
            }
        }
        capacity
    }

    #[test]
    fn the_buffer_of_a_large_piece_is_left_when_it_is_full() {
        let mut outgrown = Outgrown::default();
        let left = capacity_in_the_end(|piece| outgrown.note(piece));
        let kept = capacity_in_the_end(|_| {});
        assert!(left <= 8 << 10 && kept > 16 << 10, "{left}, {kept}");
        assert!(outgrown.held.is_none(), "or it would be kept here");
    }
}
