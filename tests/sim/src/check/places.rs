//! The places of a deployment, once all is quiet. Promise 5.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::{Deployment, DeploymentMode, RolloutState, Version};
use davit_core::node::{Node, NodeState};
use davit_core::task::{Slot, Task};

use crate::model::{Model, is_allowed};

/// What a place may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A task.
    Yes,
    /// None.
    No,
    /// Its node is away or closed: a task that was there stays.
    Either,
}

/// What of one deployment is not as it is to be.
pub(super) fn unsettled(model: &Model, deployment: &Deployment) -> Vec<String> {
    let (name, state) = (&deployment.name, deployment.rollout.state);
    let Some(current) = deployment.current() else { return vec![format!("{name} has no version")] };
    if deployment.is_deleted {
        return vec![format!("{name} is still being deleted")];
    }
    if state == RolloutState::InProgress {
        return vec![format!("version {} of {name} is {state}: {:?}", current.number, deployment.rollout)];
    }
    let mut in_places: BTreeMap<Slot, Vec<&Arc<Task>>> =
        wanted_slots(model, current).into_iter().map(|slot| (slot, Vec::new())).collect();
    for (slot, task) in model.holding(deployment.deployment_id) {
        in_places.entry(slot).or_default().push(task);
    }
    let most = if state == RolloutState::Complete { 1 } else { 2 };
    let mut problems = Vec::new();
    for (slot, tasks) in in_places {
        let (there, wanted) = (tasks.len(), wanted_in(model, current, slot));
        let is_right = match wanted {
            Wanted::Yes => (1..=most).contains(&there),
            Wanted::No => there == 0,
            Wanted::Either => there <= most,
        };
        if !is_right {
            problems.push(format!("{slot:?} of {name}, which is {state}, has {there} tasks, wanted: {wanted:?}"));
        }
        let is_older = |task: &&&Arc<Task>| *task.spec != *current.spec.task;
        if state == RolloutState::Complete && wanted == Wanted::Yes {
            let older = tasks.iter().filter(is_older);
            problems.extend(older.map(|task| format!("{} in {slot:?} of {name} is of an older version", task.key())));
        }
    }
    problems
}

fn wanted_slots(model: &Model, current: &Version) -> Vec<Slot> {
    match current.spec.mode {
        DeploymentMode::Replicated { replicas } => (1..=replicas).map(Slot::Replica).collect(),
        DeploymentMode::Global => model.nodes.keys().copied().map(Slot::Node).collect(),
    }
}

fn wanted_in(model: &Model, current: &Version, slot: Slot) -> Wanted {
    match (current.spec.mode, slot) {
        (DeploymentMode::Replicated { replicas }, Slot::Replica(number)) if number <= replicas => Wanted::Yes,
        (DeploymentMode::Global, Slot::Node(node_id)) => {
            model.nodes.get(&node_id).map_or(Wanted::No, |node| wanted_on(node, current))
        }
        _ => Wanted::No,
    }
}

fn wanted_on(node: &Node, current: &Version) -> Wanted {
    if node.drain.is_some() || !is_allowed(&current.spec.task, node) {
        Wanted::No
    } else if node.state != NodeState::Ready || node.cordoned {
        Wanted::Either
    } else {
        Wanted::Yes
    }
}
