//! Room: no node is ever over-committed, neither in the manager's books nor on an engine. Promise 2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{NodeId, TaskId};
use davit_core::node::Node;
use davit_core::resources::Resources;
use davit_core::task::Task;
use manager_svc::state::{Batch, Versions};

use super::replay::replay;
use super::{Violations, nodes_of, versions};
use crate::cluster::ALLOCATABLE;
use crate::history::Entry;
use crate::model::Model;
use crate::net::Host;

/// 2: at every commit, what is set aside on a node fits it.
pub(super) fn nodes_are_not_over_committed(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut model = Model::default();
    for batch in journal {
        model.apply(batch);
        let revision = batch.changes.last().map_or(0, |change| change.event.revision.0);
        let problem = touched(batch).into_iter().filter_map(|node_id| model.nodes.get(&node_id)).find_map(|node| {
            let tasks: Vec<&Arc<Task>> = model.placed_on(node.node_id).collect();
            over_commitment(node, &tasks)
        });
        if let Some(problem) = problem {
            return violations.add(2, format!("at revision {revision} {problem}"));
        }
    }
}

/// Nodes that a batch changes, or tasks on them.
fn touched(batch: &Batch) -> BTreeSet<NodeId> {
    let node_of = |versions: &Versions| match versions {
        Versions::Task { after, .. } => after.as_ref().and_then(|task| task.status.node_id),
        Versions::Node { after, .. } => after.as_ref().map(|node| node.node_id),
        Versions::Deployment { .. } | Versions::Job { .. } | Versions::Config { .. } => None,
    };
    batch.changes.iter().filter_map(|change| node_of(&change.versions)).collect()
}

fn over_commitment(node: &Node, tasks: &[&Arc<Task>]) -> Option<String> {
    let name = &node.description.name;
    let sum = tasks.iter().fold(Resources::ZERO, |sum, task| sum.saturating_add(task.spec.resources.reservation));
    if exceeds(sum, node.description.allocatable) {
        return Some(format!("{sum:?} is set aside on {name}"));
    }
    let mut ports = BTreeSet::new();
    let doubled = tasks.iter().flat_map(|task| &task.given_ports).find(|port| !ports.insert(port.host_port));
    doubled.map(|port| format!("port {} of {name} is given twice", port.host_port))
}

/// 2: at every moment, what an engine really runs of a node fits the node, with what the manager gave up as LOST and its worker is
/// still to stop. A machine whose data directory was emptied is another node from then on, beside the one that it was: several may
/// share an engine.
pub(super) fn engines_are_not_over_committed(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let reserved: BTreeMap<TaskId, Resources> =
        versions(journal).map(|task| (task.task_id, task.spec.resources.reservation)).collect();
    let nodes = nodes_of(journal);
    let mut worst: BTreeMap<Host, (Resources, Duration)> = BTreeMap::new();
    replay(entries, journal, |moment| {
        let mut sums: BTreeMap<(Host, Option<NodeId>), Resources> = BTreeMap::new();
        for (host, key) in moment.running {
            let sum = sums.entry((host, nodes.get(key).copied())).or_insert(Resources::ZERO);
            *sum = sum.saturating_add(reserved.get(&key.task_id).copied().unwrap_or(Resources::ZERO));
        }
        for ((host, _), sum) in sums {
            if exceeds(sum, ALLOCATABLE) {
                worst.entry(host).or_insert((sum, moment.at));
            }
        }
    });
    for (host, (sum, at)) in worst {
        violations.add(2, format!("at {at:?} the engine of {host} runs {sum:?}"));
    }
}

fn exceeds(sum: Resources, allowed: Resources) -> bool {
    sum.cpu_millis > allowed.cpu_millis
        || sum.memory_bytes > allowed.memory_bytes
        || sum.disk_bytes > allowed.disk_bytes
}
