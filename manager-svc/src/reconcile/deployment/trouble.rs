//! What is wrong with the tasks of a deployment, in one line for people.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::deployment::Deployment;
use davit_core::id::NodeId;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Slot, Task};
use davit_core::words::counted;

use crate::commands::WAITING_FOR_SCHEDULER;
use crate::state::ClusterState;

/// How many tasks are looked at: what is wrong with more of them is mostly the same.
const MAX_LOOKED_AT: usize = 1_000;
const NO_ROOM: &str = "there are as many tasks as the manager's `max-tasks` allows";
/// How workers begin the reason of a task that never was ready: it is said once.
const NOT_READY_YET: &str = "not ready yet: ";
/// After so many restarts in a row a task counts as crashing.
const CRASHES: u32 = 2;

/// Why the deployment's tasks do not serve: `2 of 5 slots crash: exit 137 out of memory on node-2`. Empty where they do, or are on
/// their way. Of one that waits for others: for which.
#[must_use]
pub fn trouble_of(state: &ClusterState, deployment: &Deployment, desired: u32) -> String {
    if deployment.waits {
        return deployment.rollout.reason.clone();
    }
    let (mut crashing, mut waiting, mut unready) = (Causes::default(), Causes::default(), Causes::default());
    let mut seen = BTreeSet::new();
    for task in state.unready_of(deployment.deployment_id).take(MAX_LOOKED_AT) {
        let Some((_, slot)) = task.slot() else { continue };
        // A slot is told of once, and not if it is to go, or if another task serves in it.
        let is_going = matches!(slot, Slot::Replica(number) if number > desired);
        if is_going || state.is_served(deployment.deployment_id, slot) || !seen.insert(slot) {
            continue;
        }
        let has_ended = task.status.state == TaskState::Failed;
        if task.restarts_in_row >= CRASHES || has_ended {
            crashing.count(last_failure(task).map(how_it_failed), last_failure(task).and_then(|last| last.node_id));
        } else if task.status.state == TaskState::Running && !task.status.reason.is_empty() {
            // Its health check says why, before and after it served.
            let why = task.status.reason.trim_start_matches(NOT_READY_YET).to_owned();
            unready.count(Some(why), task.status.node_id);
        } else if task.status.state == TaskState::Pending && task.next_attempt_at.is_none() {
            // One that was just created has not been tried.
            if task.status.reason != WAITING_FOR_SCHEDULER {
                waiting.count(Some(task.status.reason.clone()), None);
            }
        }
    }
    let missing = desired.saturating_sub(state.replicas(deployment.deployment_id).holding());
    let lacking = if state.lacks_room(deployment.deployment_id) && missing > 0 {
        format!("{missing} of {} without a task: {NO_ROOM}", counted(desired.into(), "slot", "slots"))
    } else {
        String::new()
    };
    let told = [
        crashing.told(state, ["crashes", "crash"], desired),
        unready.told(state, ["is not ready", "are not ready"], desired),
        waiting.told(state, ["waits", "wait"], desired),
        lacking,
    ];
    told.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Why tasks do not serve, and how many for each reason.
#[derive(Default)]
struct Causes {
    count: u32,
    by_cause: BTreeMap<String, (u32, BTreeMap<NodeId, u32>)>,
}

impl Causes {
    fn count(&mut self, cause: Option<String>, node_id: Option<NodeId>) {
        self.count += 1;
        let (count, nodes) = self.by_cause.entry(cause.unwrap_or_default()).or_default();
        *count += 1;
        if let Some(node_id) = node_id {
            *nodes.entry(node_id).or_default() += 1;
        }
    }

    /// The most frequent cause, and on which nodes.
    fn told(&self, state: &ClusterState, [one, several]: [&str; 2], desired: u32) -> String {
        let most = self.by_cause.iter().max_by_key(|(_, (count, _))| *count);
        let Some((cause, (_, nodes))) = most else { return String::new() };
        let (count, verb) = (self.count, if self.count == 1 { one } else { several });
        let mut told = format!("{count} of {} {verb}", counted(desired.into(), "slot", "slots"));
        if !cause.is_empty() {
            told.push_str(": ");
            told.push_str(cause);
        }
        let name = |node_id: &NodeId| state.node(*node_id).map(|node| node.description.name.clone());
        let names: Vec<String> = nodes.keys().filter_map(name).take(3).collect();
        if !names.is_empty() {
            // After words of others it has to be seen where these end.
            told.push_str(if cause.starts_with("exit ") || cause.is_empty() { " on " } else { ", on " });
            told.push_str(&names.join(", "));
        }
        if nodes.len() > names.len() {
            told.push_str(" and others");
        }
        told
    }
}

/// The last attempt that ended by itself.
fn last_failure(task: &Task) -> Option<&AttemptStatus> {
    let attempts = task.past_attempts.iter().chain([&task.status]);
    attempts.rev().find(|status| matches!(status.state, TaskState::Failed | TaskState::Completed))
}

fn how_it_failed(status: &AttemptStatus) -> String {
    match status.exit_code {
        Some(code) if status.oom_killed => format!("exit {code} out of memory"),
        // An unhealthy task was stopped for that, and how it took the signal says nothing.
        Some(code) if !status.reason.starts_with("unhealthy") => format!("exit {code}"),
        _ => status.reason.clone(),
    }
}
