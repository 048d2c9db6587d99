//! What one placement stream remembers, and what each of its messages does. Synchronous: [`super::place_stream`] decides
//! on which thread it runs.

use std::collections::BTreeSet;

use davit_core::validate::Violations;
use davit_proto::v1::place_request::Message;
use davit_proto::{convert, v1};

use super::answers;
use crate::placement::{Algorithm, Group, GroupPlacement, Mirror, algorithms, place, place_while};
use crate::record::StreamRecord;

/// The most tasks of one batch. It bounds how long the batches behind it wait.
pub(super) const MAX_BATCH_TASKS: u64 = 10_000_000;
/// The most groups of one batch.
pub(super) const MAX_BATCH_GROUPS: usize = 100_000;
/// How many groups are placed between two looks at whether anybody still wants the answer.
const GROUPS_BETWEEN_LOOKS: u64 = 64;

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct PlaceSession {
    /// `None` until the snapshot came.
    mirror: Option<Mirror>,
    /// Where it is recorded, if it is.
    record: Option<StreamRecord>,
}

/// What a message led to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The nodes are as it said.
    Noted,
    /// A batch was placed.
    Answered(Answer),
    /// Nobody waits for the answer any more; the mirror is of no use from here on.
    Abandoned,
}

/// The answer to a batch.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: v1::PlaceResponse,
    pub(super) placed: u64,
    pub(super) unplaced: u64,
}

impl PlaceSession {
    /// A stream that is recorded, if a record is given.
    pub(super) fn new(record: Option<StreamRecord>) -> Self {
        Self { mirror: None, record }
    }

    /// About how much it is to do, in nodes looked at and tasks placed.
    pub(super) fn work(&self, request: &v1::PlaceRequest) -> u64 {
        match &request.message {
            Some(Message::Snapshot(snapshot)) => snapshot.nodes.len() as u64,
            Some(Message::Delta(delta)) => (delta.upserted.len() + delta.removed_node_ids.len()) as u64,
            Some(Message::Batch(batch)) => {
                let nodes = self.mirror.as_ref().map_or(0, |mirror| mirror.nodes().len() as u64);
                batch.groups.iter().map(|group| nodes + u64::from(group.count)).sum()
            }
            None => 0,
        }
    }

    /// Does what a message says. Nothing is changed by a message that is wrong. `abandoned` is asked now and then.
    pub(super) fn handle(
        &mut self,
        request: v1::PlaceRequest,
        abandoned: impl Fn() -> bool,
    ) -> Result<Outcome, Violations> {
        match (&mut self.mirror, request.message) {
            (None, Some(Message::Snapshot(snapshot))) => {
                let mut violations = Violations::new();
                let nodes = convert::node_views_from_proto(snapshot.nodes, "snapshot.nodes", &mut violations);
                let mirror = Mirror::new(violations.finish(nodes)?);
                record_snapshot(self.record.as_mut(), &mirror);
                self.mirror = Some(mirror);
                Ok(Outcome::Noted)
            }
            (None, _) => Err(violation("snapshot", "is needed: the first message of a stream tells all nodes")),
            (Some(_), Some(Message::Snapshot(_))) => {
                Err(violation("snapshot", "only the first message is one; send a delta, or open a new stream"))
            }
            (Some(mirror), Some(Message::Delta(delta))) => {
                record_snapshot(self.record.as_mut(), mirror);
                let recorded = copy_if_recorded(self.record.as_ref(), &delta);
                apply_delta(mirror, delta)?;
                if let Some(record) = &mut self.record {
                    record.delta(recorded);
                }
                Ok(Outcome::Noted)
            }
            (Some(mirror), Some(Message::Batch(batch))) => {
                record_snapshot(self.record.as_mut(), mirror);
                let recorded = copy_if_recorded(self.record.as_ref(), &batch);
                let (batch_id, seed) = (batch.batch_id, batch.seed);
                let groups = groups_from_proto(batch.groups)?;
                let Some(placements) = place_unless_abandoned(mirror, &groups, seed, abandoned) else {
                    return Ok(Outcome::Abandoned);
                };
                let answer = answer(batch_id, &groups, placements);
                if let Some(record) = &mut self.record {
                    record.batch(recorded, &answer.response);
                }
                Ok(Outcome::Answered(answer))
            }
            (Some(_), None) => Err(violation("message", "is needed: a delta or a batch")),
        }
    }
}

/// Records all that the stream goes by, where it is not known yet.
fn record_snapshot(record: Option<&mut StreamRecord>, mirror: &Mirror) {
    let Some(record) = record.filter(|record| record.needs_snapshot()) else { return };
    record.snapshot(snapshot_of(mirror));
}

fn snapshot_of(mirror: &Mirror) -> v1::RecordSnapshot {
    v1::RecordSnapshot {
        nodes: mirror.nodes().iter().map(convert::node_view_to_proto).collect(),
        last_placed_node_id: mirror.last_placed().map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn copy_if_recorded<T: Clone>(record: Option<&StreamRecord>, message: &T) -> Option<T> {
    record.is_some_and(StreamRecord::is_recorded).then(|| message.clone())
}

/// A recorded stream that is worked out again.
#[derive(Debug)]
pub(crate) struct ReplaySession(Mirror);

impl ReplaySession {
    /// From what it went by.
    pub(crate) fn new(snapshot: v1::RecordSnapshot) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let nodes = convert::node_views_from_proto(snapshot.nodes, "snapshot.nodes", &mut violations);
        let last = match snapshot.last_placed_node_id.as_str() {
            "" => None,
            id => convert::parse_node_id(id, "snapshot.last_placed_node_id", &mut violations),
        };
        let mut mirror = Mirror::new(violations.finish(nodes)?);
        mirror.set_last_placed(last);
        Ok(Self(mirror))
    }

    /// All that it goes by.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> v1::RecordSnapshot {
        snapshot_of(&self.0)
    }

    /// Nodes that changed.
    pub(crate) fn delta(&mut self, delta: v1::PlaceDelta) -> Result<(), Violations> {
        apply_delta(&mut self.0, delta)
    }

    /// Tasks that were placed.
    pub(crate) fn batch(&mut self, batch: v1::PlaceBatch) -> Result<v1::PlaceResponse, Violations> {
        let (batch_id, seed) = (batch.batch_id, batch.seed);
        let groups = groups_from_proto(batch.groups)?;
        let placements = place(&mut self.0, &groups, seed);
        Ok(answer(batch_id, &groups, placements).response)
    }
}

fn violation(field: &str, description: &str) -> Violations {
    let mut violations = Violations::new();
    violations.add(field, description);
    violations
}

fn apply_delta(mirror: &mut Mirror, delta: v1::PlaceDelta) -> Result<(), Violations> {
    let mut violations = Violations::new();
    let upserted = convert::node_views_from_proto(delta.upserted, "delta.upserted", &mut violations);
    let upserted_ids: BTreeSet<_> = upserted.iter().flatten().map(|node| node.node_id).collect();
    let mut removed = Vec::with_capacity(delta.removed_node_ids.len());
    for (index, text) in delta.removed_node_ids.iter().enumerate() {
        let path = format!("delta.removed_node_ids[{index}]");
        let Some(node_id) = convert::parse_node_id(text, &path, &mut violations) else { continue };
        if upserted_ids.contains(&node_id) {
            violations.add(path, format!("{node_id} is also upserted"));
        }
        removed.push(node_id);
    }
    for node in violations.finish(upserted)? {
        mirror.upsert(node);
    }
    for node_id in removed {
        mirror.remove(node_id);
    }
    Ok(())
}

fn groups_from_proto(groups: Vec<v1::PlacementGroup>) -> Result<Vec<Group>, Violations> {
    let mut violations = Violations::new();
    if groups.len() > MAX_BATCH_GROUPS {
        return Err(violation("batch.groups", &format!("{} are more than {MAX_BATCH_GROUPS}", groups.len())));
    }
    let tasks: u64 = groups.iter().map(|group| u64::from(group.count)).sum();
    if tasks > MAX_BATCH_TASKS {
        violations.add("batch.groups", format!("{tasks} tasks are more than {MAX_BATCH_TASKS}"));
    }
    let algorithms: Vec<_> = groups
        .iter()
        .enumerate()
        .filter_map(|(index, group)| match algorithms::find(&group.algorithm) {
            Ok(algorithm) => Some(algorithm),
            Err(unknown) => {
                violations.add(format!("batch.groups[{index}].algorithm"), unknown.to_string());
                None
            }
        })
        .collect();
    let groups = convert::placement_groups_from_proto(groups, "batch.groups", &mut violations);
    let groups = violations.finish(groups)?;
    // Without violations there is one algorithm for each group.
    Ok(groups.into_iter().zip(algorithms).map(|(group, algorithm)| with_algorithm(group, algorithm)).collect())
}

/// Reads one group.
pub(super) fn group_from_proto(group: v1::PlacementGroup, path: &str, violations: &mut Violations) -> Option<Group> {
    let algorithm = violations.check(format!("{path}.algorithm"), algorithms::find(&group.algorithm));
    let group = convert::placement_group_from_proto(group, path, violations)?;
    Some(with_algorithm(group, algorithm?))
}

fn with_algorithm(group: convert::PlacementGroup, algorithm: &'static dyn Algorithm) -> Group {
    let convert::PlacementGroup { group_id, request, count, all_or_nothing } = group;
    Group { group_id, request, count, algorithm, all_or_nothing }
}

/// Asks now and then whether anybody still waits. `None` when nobody does.
fn place_unless_abandoned(
    mirror: &mut Mirror,
    groups: &[Group],
    seed: u64,
    abandoned: impl Fn() -> bool,
) -> Option<Vec<GroupPlacement>> {
    let mut placed = 0;
    place_while(mirror, groups, seed, &mut || {
        placed += 1;
        placed % GROUPS_BETWEEN_LOOKS != 1 || !abandoned()
    })
}

fn answer(batch_id: u64, groups: &[Group], placements: Vec<GroupPlacement>) -> Answer {
    let asked: u64 = groups.iter().map(|group| u64::from(group.count)).sum();
    let unplaced: u64 = placements.iter().map(|placement| u64::from(placement.unplaced)).sum();
    let placements = placements.into_iter().map(answers::placement).collect();
    let response = v1::PlaceResponse { batch_id, placements };
    Answer { response, placed: asked.saturating_sub(unplaced), unplaced }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::placement::test_support::node;

    fn group(number: u32, count: u32) -> Group {
        let mut group = crate::placement::test_support::group(count, algorithms::DEFAULT);
        group.request.requirements.reservation.cpu_millis = 10 * u64::from(number + 1);
        Group { group_id: number.to_string(), ..group }
    }

    fn to_proto(group: &Group) -> v1::PlacementGroup {
        v1::PlacementGroup {
            group_id: group.group_id.clone(),
            requirements: Some(convert::requirements_to_proto(&group.request.requirements)),
            count: group.count,
            ..Default::default()
        }
    }

    fn batch(groups: &[Group]) -> v1::PlaceRequest {
        let batch = v1::PlaceBatch { batch_id: 1, groups: groups.iter().map(to_proto).collect(), seed: 7 };
        v1::PlaceRequest { message: Some(Message::Batch(batch)) }
    }

    fn mirror() -> Mirror {
        Mirror::new((0..3).map(node).collect())
    }

    #[test]
    fn a_look_now_and_then_changes_nothing() {
        let groups: Vec<_> = (0..200).map(|n| group(n, 3)).collect();
        let (mut whole, mut looked) = (mirror(), mirror());
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            false
        };
        let placements = place_unless_abandoned(&mut looked, &groups, 7, look).unwrap();
        assert_eq!(placements, place(&mut whole, &groups, 7));
        assert_eq!(looked.nodes(), whole.nodes());
        assert_eq!(looks.get(), 4);
    }

    #[test]
    fn work_that_nobody_waits_for_is_not_done() {
        let mut session = PlaceSession { mirror: Some(mirror()), record: None };
        let outcome = session.handle(batch(&[group(0, 5)]), || true).unwrap();
        assert!(matches!(outcome, Outcome::Abandoned));
        assert_eq!(session.mirror.unwrap().nodes(), mirror().nodes());
    }

    #[test]
    fn a_batch_that_is_too_large_is_refused_before_anything_is_placed() {
        for groups in [vec![group(0, 6_000_000), group(1, 6_000_000)], vec![group(0, 1); MAX_BATCH_GROUPS + 1]] {
            let mut session = PlaceSession { mirror: Some(mirror()), record: None };
            let violations = session.handle(batch(&groups), || false).unwrap_err();
            assert_eq!(violations.0[0].field, "batch.groups");
            assert!(violations.0[0].description.contains("more than"), "{violations}");
            assert_eq!(session.mirror.unwrap().nodes(), mirror().nodes());
        }
    }

    #[test]
    fn a_wrong_delta_changes_nothing() {
        let mut session = PlaceSession { mirror: Some(mirror()), record: None };
        let mut changed = node(1);
        changed.cordoned = true;
        let delta = v1::PlaceDelta {
            upserted: vec![convert::node_view_to_proto(&changed)],
            removed_node_ids: vec![node(0).node_id.to_string(), changed.node_id.to_string(), "x".to_owned()],
        };
        let request = v1::PlaceRequest { message: Some(Message::Delta(delta)) };
        let violations = session.handle(request, || false).unwrap_err();
        let fields: Vec<_> = violations.0.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["delta.removed_node_ids[1]", "delta.removed_node_ids[2]"]);
        assert_eq!(session.mirror.unwrap().nodes(), mirror().nodes());
    }

    #[test]
    fn work_counts_nodes_for_every_group() {
        let session = PlaceSession { mirror: Some(mirror()), record: None };
        assert_eq!(session.work(&batch(&[group(0, 5), group(1, 6)])), 3 + 5 + 3 + 6);
    }
}
