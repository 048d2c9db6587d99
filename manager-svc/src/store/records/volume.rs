//! Where named volumes are.

use davit_core::id::{NodeId, Revision};
use davit_core::volume::VolumeHome;
use davit_proto::store_v1;

use super::{Malformed, malformed, time_from, time_to, uuid_from};

/// Writes where a volume is.
pub(in crate::store) fn volume_to_record(home: &VolumeHome) -> store_v1::VolumeRecord {
    let VolumeHome { name, node_id, bound_at, revision } = home;
    store_v1::VolumeRecord {
        name: name.clone(),
        node_id: node_id.0.as_bytes().to_vec(),
        bind_time: Some(time_to(*bound_at)),
        revision: revision.0,
    }
}

/// Reads where a volume is.
pub(in crate::store) fn volume_from_record(record: store_v1::VolumeRecord) -> Result<VolumeHome, Malformed> {
    let store_v1::VolumeRecord { name, node_id, bind_time, revision } = record;
    if name.is_empty() {
        return malformed("name is empty");
    }
    let node_id = NodeId(uuid_from(&node_id, "node_id")?);
    Ok(VolumeHome { name, node_id, bound_at: time_from(bind_time, "bind_time")?, revision: Revision(revision) })
}
