//! What is not as it is to be once all faults are over. Promise 5.

use std::collections::BTreeSet;

use davit_core::id::AttemptKey;
use davit_core::node::NodeState;

use super::{deployments, jobs};
use crate::cluster::{Cluster, NAME};

/// 5: what is not as it should be, once all is quiet: empty when all is well.
#[must_use]
pub fn unsettled(cluster: &Cluster) -> Vec<String> {
    let model = cluster.disk.model();
    let mut problems: Vec<String> = model.tasks.values().filter_map(|task| model.unsettled(task)).collect();
    problems.extend(deployments::unsettled(&model));
    problems.extend(jobs::unsettled(&model));
    for (host, machine) in &cluster.machines {
        let owner = machine.owner(NAME);
        let state = model.nodes.get(&owner.node_id).map(|node| node.state);
        if state != Some(NodeState::Ready) {
            problems.push(format!("{host} is {state:?}"));
        }
        let (own, former): (Vec<_>, Vec<_>) = machine.running(NAME).into_iter().partition(|(of, _)| *of == owner);
        problems
            .extend(former.iter().map(|(of, key)| format!("{host} still runs {key}, of its former {}", of.node_id)));
        let runs: BTreeSet<AttemptKey> = own.into_iter().map(|(_, key)| key).collect();
        let wanted = model.running_on(owner.node_id);
        problems.extend(runs.difference(&wanted).map(|key| format!("{host} runs {key}, which is not wanted there")));
        problems
            .extend(wanted.difference(&runs).map(|key| format!("{host} does not run {key}, which is wanted there")));
    }
    problems
}
