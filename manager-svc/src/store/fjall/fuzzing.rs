//! What a damaged store may say of itself as a whole.

use davit_proto::fuzzing::encoded_and_back;
use davit_proto::store_v1::StoreHead;
use davit_svc_kit::mark::{SLOT_BYTES, decode, encode};
use prost::Message as _;

use super::super::records::Malformed;
use super::load::head_from_record;

/// The head, as bytes.
///
/// # Panics
/// When it is another one after it was written and read again.
pub(in crate::store) fn head(bytes: &[u8]) -> Result<(), Malformed> {
    let head = head_from_record(&StoreHead::decode(bytes)?).map_err(Malformed)?;
    assert_eq!(head_from_record(&encoded_and_back(&head.to_record())), Ok(head));
    Ok(())
}

/// A slot of the mark: as it is; and one that was written with these numbers, with one bit flipped.
///
/// # Panics
/// When a damaged slot is taken for a good one, or a good one is not read.
pub(in crate::store) fn mark(bytes: &[u8]) {
    if let Some(slot) = bytes.first_chunk::<SLOT_BYTES>()
        && let Some((turn, number)) = decode(slot)
    {
        assert_eq!(encode(turn, number), *slot);
    }
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (Some(turn), Some(marked), Some(bit)) = (number(0), number(8), bytes.get(16)) else { return };
    let mut slot = encode(turn, marked);
    assert_eq!(decode(&slot), Some((turn, marked)));
    slot[usize::from(*bit) / 8] ^= 1 << (bit % 8);
    assert_eq!(decode(&slot), None, "a flipped bit is not noticed");
}
