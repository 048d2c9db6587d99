//! Hashes that stay the same over restarts and versions: they are stored with request ids, given out in tokens, and
//! spread retries in a way that can be repeated.

use prost::Message;

/// FNV-1a over a label and an encoded message. Equal messages encode equally, since maps are ordered.
pub(crate) fn stable_hash(label: &str, message: &impl Message) -> u64 {
    fnv1a(label.bytes().chain([0]).chain(message.encode_to_vec()))
}

/// FNV-1a. The last bytes hardly reach the upper bits; put after them what matters less.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    bytes.into_iter().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use davit_proto::v1;

    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(stable_hash("a", &v1::GetTaskRequest { task_id: "b".to_owned() }), 0xc48b_e7fe_82dc_6e29);
    }

    #[test]
    fn label_and_content_both_count() {
        let (one, other) = (v1::GetTaskRequest { task_id: "1".into() }, v1::GetTaskRequest { task_id: "2".into() });
        assert_ne!(stable_hash("a", &one), stable_hash("b", &one));
        assert_ne!(stable_hash("a", &one), stable_hash("a", &other));
    }
}
