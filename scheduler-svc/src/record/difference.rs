//! What differs between two answers, in words.

use davit_proto::v1;

/// Parts of an answer that are told at most.
const MAX_PARTS: usize = 5;

/// One line for each group that differs.
pub(super) fn differences(recorded: &v1::PlaceResponse, again: &v1::PlaceResponse) -> Vec<String> {
    let ids = |answer: &v1::PlaceResponse| answer.placements.iter().map(|one| one.group_id.clone()).collect::<Vec<_>>();
    let (recorded_ids, again_ids) = (ids(recorded), ids(again));
    if recorded_ids != again_ids {
        let all = |ids: &[String]| listed(ids.iter().map(|id| format!("{id:?}")).collect(), "none");
        return vec![format!("groups: recorded {}; worked out again {}", all(&recorded_ids), all(&again_ids))];
    }
    let pairs = recorded.placements.iter().zip(&again.placements).filter(|(recorded, again)| recorded != again);
    let mut differences: Vec<_> = pairs.map(|(recorded, again)| group(recorded, again)).collect();
    if recorded.batch_id != again.batch_id {
        differences.push(format!("number: recorded {}; worked out again {}", recorded.batch_id, again.batch_id));
    }
    differences
}

/// `group "web": recorded 3 on 0193…, 2 nowhere (fits 0 of …); worked out again 5 on 0194…`
fn group(recorded: &v1::GroupPlacement, again: &v1::GroupPlacement) -> String {
    let (recorded_parts, again_parts) = (parts(recorded), parts(again));
    let only = |parts: &[String], others: &[String]| {
        let parts: Vec<_> = parts.iter().filter(|part| !others.contains(part)).cloned().collect();
        listed(parts, "nothing else")
    };
    format!(
        "group {:?}: recorded {}; worked out again {}",
        recorded.group_id,
        only(&recorded_parts, &again_parts),
        only(&again_parts, &recorded_parts)
    )
}

fn parts(placement: &v1::GroupPlacement) -> Vec<String> {
    let mut parts: Vec<_> = placement.runs.iter().map(|run| format!("{} on {}", run.count, run.node_id)).collect();
    if placement.unplaced_count > 0 || !placement.unplaced_reason.is_empty() {
        parts.push(format!("{} nowhere ({})", placement.unplaced_count, placement.unplaced_reason));
    }
    for v1::Preemption { node_id, victim_task_ids, reason } in &placement.preemptions {
        parts.push(format!("{} stopped on {node_id} ({reason})", victim_task_ids.join(" and ")));
    }
    parts
}

fn listed(mut parts: Vec<String>, nothing: &str) -> String {
    if parts.is_empty() {
        return nothing.to_owned();
    }
    let more = parts.len().saturating_sub(MAX_PARTS);
    parts.truncate(MAX_PARTS);
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    parts.join(", ")
}
