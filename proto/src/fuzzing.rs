//! What the fuzz targets in `fuzz/` run. The bodies live here so that the test suite runs them too, on the same seeds.
//!
//! Each panics when a promise is broken: nothing that comes in panics, and what is accepted is the same after it was
//! written and read again.

pub mod corpus;

use std::collections::BTreeMap;

use davit_core::constraint::{Attribute, Constraint, MAX_EXPRESSION_BYTES, NodeAttributes, Operator};
use davit_core::labels::NodeLabels;
use davit_core::placement::NodeView;
use davit_core::validate::Violations;
use prost::Message as _;

use crate::convert::{
    PlacementGroup, node_view_to_proto, node_views_from_proto, placement_group_to_proto, placement_groups_from_proto,
};
use crate::v1;

/// Bytes as a client of `SchedulerService/Place` may send them.
///
/// # Panics
/// When what was accepted is not the same after it was written and read again.
pub fn place_request(bytes: &[u8]) {
    if let Ok(request) = v1::PlaceRequest::decode(bytes) {
        check_place_request(request);
    }
}

/// As [`place_request`], of a request that was decoded. Says whether it was accepted.
///
/// # Panics
/// When what was accepted is not the same after it was written and read again.
pub fn check_place_request(request: v1::PlaceRequest) -> bool {
    use v1::place_request::Message;
    match request.message {
        Some(Message::Snapshot(snapshot)) => nodes_survive(snapshot.nodes, "snapshot.nodes"),
        Some(Message::Delta(delta)) => nodes_survive(delta.upserted, "delta.upserted"),
        Some(Message::Batch(batch)) => groups_survive(batch.groups, "batch.groups"),
        None => false,
    }
}

/// What reading gave, after checking that it gave either a value or reasons, and that all reasons name a field below `path`.
fn judged<T>(value: Option<T>, violations: &Violations, path: &str) -> Option<T> {
    assert_eq!(value.is_some(), violations.is_empty(), "a value or reasons, not both or none: {violations}");
    let apart = violations.0.iter().find(|violation| !violation.field.starts_with(path));
    assert_eq!(apart, None, "names a field of another message");
    value
}

fn nodes_survive(nodes: Vec<v1::PlacementNode>, path: &str) -> bool {
    let read = |nodes: Vec<v1::PlacementNode>| -> Option<Vec<NodeView>> {
        let mut violations = Violations::new();
        let nodes = node_views_from_proto(nodes, path, &mut violations);
        judged(nodes, &violations, path)
    };
    let Some(accepted) = read(nodes) else { return false };
    let written: Vec<_> = accepted.iter().map(|node| encoded_and_back(&node_view_to_proto(node))).collect();
    assert_eq!(read(written), Some(accepted), "nodes are not the same after they were written and read");
    true
}

fn groups_survive(groups: Vec<v1::PlacementGroup>, path: &str) -> bool {
    let read = |groups: Vec<v1::PlacementGroup>| -> Option<Vec<PlacementGroup>> {
        let mut violations = Violations::new();
        let groups = placement_groups_from_proto(groups, path, &mut violations);
        judged(groups, &violations, path)
    };
    let Some(accepted) = read(groups) else { return false };
    let written: Vec<_> = accepted.iter().map(|group| encoded_and_back(&placement_group_to_proto(group))).collect();
    assert_eq!(read(written), Some(accepted), "groups are not the same after they were written and read");
    true
}

/// A message as a reader gets it.
///
/// # Panics
/// When it is another one.
pub fn encoded_and_back<M: prost::Message + Default + PartialEq + std::fmt::Debug>(message: &M) -> M {
    let again = M::decode(message.encode_to_vec().as_slice());
    assert_eq!(
        again.as_ref().ok(),
        Some(message),
        "what we encode must be decoded as the same: {:?}",
        again.as_ref().err()
    );
    again.unwrap_or_default()
}

/// A text as a user may write it for a constraint. Says whether it is one.
///
/// # Panics
/// When a constraint is not the same after it was printed and parsed again, or holds because of a label that is absent.
pub fn constraint(text: &str) -> bool {
    let Ok(parsed) = text.parse::<Constraint>() else { return false };
    let printed = parsed.to_string();
    // The full form may be longer than what is accepted; such a constraint is refused where specs are read.
    if printed.len() <= MAX_EXPRESSION_BYTES {
        let again = printed.parse::<Constraint>();
        assert_eq!(again.as_ref(), Ok(&parsed), "{text:?} is another one after it was printed as {printed:?}");
        assert_eq!(again.map(|again| again.to_string()), Ok(printed), "printing is not stable");
    }
    for labels in node_labels(&parsed) {
        let labels = NodeLabels::from(labels);
        let node = NodeAttributes { name: "node-1", os: "linux", arch: "x86_64", labels: &labels };
        // Whatever the values: an absent label satisfies `!exists` and nothing else, a present one anything but that.
        let (holds, present) = (parsed.is_satisfied_by(node), parsed.attribute.value_on(node).is_some());
        let absence = parsed.operator == Operator::NotExists;
        assert!(!holds || present != absence, "{text:?} holds on {labels:?}");
    }
    true
}

/// Labels that the constraint is about: without its own, and with each of its values, as they are and as numbers.
fn node_labels(constraint: &Constraint) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    if let Attribute::Label(key) = &constraint.attribute {
        let values = constraint.values.iter().map(String::as_str).chain(["", "1", "-1", "1e308", "NaN", "inf", "ssd"]);
        all.extend(values.map(|value| BTreeMap::from([(key.clone(), value.to_owned())])));
    }
    all
}
