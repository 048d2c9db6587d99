//! Drains: their pace, and that a node which is said to be drained is. Promise 5. That no task is lost on its way is told by
//! what must be settled in the end, and that no job runs twice by promise 3.

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_core::id::{Attempt, TaskId};
use davit_core::node::Node;
use davit_core::state::TaskState;
use manager_svc::state::{Batch, Versions};

use super::clones::Clones;
use super::replay::replay;
use super::trouble::Troubles;
use super::{Violations, nodes_of};
use crate::cluster::{Cluster, NAME};
use crate::history::{Entry, Event};
use crate::machine::WorkerMachine;
use crate::model::Model;
use crate::net::Host;

/// 5: never are more tasks of a node on the move than its drain allows, whenever one more is told to move.
pub(super) fn drains_keep_their_pace(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut model = Model::default();
    for change in journal.iter().flat_map(|batch| &batch.changes) {
        model.apply_change(&change.versions);
        let Versions::Node { before, after: Some(node) } = &change.versions else { continue };
        let Some(drain) = &node.drain else { continue };
        let known = before.as_ref().and_then(|node| node.drain.as_ref()).map(|drain| &drain.moving);
        let has_new =
            drain.moving.iter().any(|(task_id, attempt)| known.and_then(|known| known.get(task_id)) != Some(attempt));
        let on_the_move =
            drain.moving.iter().filter(|(task_id, attempt)| is_on_the_move(&model, **task_id, **attempt)).count();
        if has_new && on_the_move > drain.max_parallel as usize {
            let (revision, name) = (change.event.revision.0, &node.description.name);
            let limit = drain.max_parallel;
            violations.add(5, format!("at revision {revision} {on_the_move} tasks of {name} move, {limit} may"));
        }
    }
}

/// Whether a task that was told to move, with this attempt on the node, neither runs elsewhere nor has ended.
fn is_on_the_move(model: &Model, task_id: TaskId, attempt: Attempt) -> bool {
    let Some(task) = model.tasks.get(&task_id) else { return false };
    let mut known = task.past_attempts.iter().chain([&task.status]);
    let ran_later = known.any(|status| {
        status.attempt > attempt && status.node_id.is_some() && status.state.rank() >= TaskState::Running.rank()
    });
    !ran_later && !task.is_finished()
}

/// 5: when a node is drained nothing is placed on it, and its engine runs nothing, unless the engine has been in trouble: what it
/// starts late is not known to anybody. A copy of the node that says so speaks for its own engine.
pub(super) fn drained_nodes_are_empty(
    cluster: &Cluster,
    entries: &[Entry],
    journal: &[Arc<Batch>],
    violations: &mut Violations,
) {
    let is_drained = |node: &Arc<Node>| node.drain.as_ref().is_some_and(|drain| drain.drained_at.is_some());
    let (troubles, clones, nodes) = (Troubles::of(entries), Clones::of(entries), nodes_of(journal));
    replay(entries, journal, |moment| {
        if !matches!(moment.event, Event::Synced { .. }) {
            return;
        }
        let former = |machine: &WorkerMachine| machine.former_owners(NAME).into_iter().chain([machine.owner(NAME)]);
        let all =
            cluster.machines.iter().flat_map(|(host, machine)| former(machine).map(move |owner| (host, owner.node_id)));
        for (host, node_id) in all {
            let was = moment.before.nodes.get(&node_id).is_some_and(is_drained);
            if was || !moment.durable.nodes.get(&node_id).is_some_and(is_drained) {
                continue;
            }
            let placed: BTreeSet<_> = moment.durable.placed_on(node_id).map(|task| task.key()).collect();
            let is_meant = |on: Host, key| {
                on == *host
                    && nodes.get(&key) == Some(&node_id)
                    && !troubles.touch(on, moment.at)
                    && !clones.touch(on, moment.at)
            };
            let runs = moment.running.iter().filter(|(on, key)| is_meant(on, *key)).map(|(_, key)| *key);
            for key in placed.into_iter().chain(runs) {
                violations.add(5, format!("{host} is drained at {:?} and has {key}", moment.at));
            }
        }
    });
}
