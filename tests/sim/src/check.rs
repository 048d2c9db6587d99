//! The promises of DESIGN.md section 8, checked from what clients were told, what engines did and what the disk holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, TaskId};
use davit_core::node::NodeState;
use davit_core::resources::Resources;
use davit_core::spec::OnNodeLoss;
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Task};
use manager_svc::state::{Batch, Versions};
use tonic::Code;

use crate::cluster::{ALLOCATABLE, Cluster, NAME};
use crate::history::{Entry, Event};
use crate::model::Model;
use crate::net::Host;
use crate::workload::{Call, Outcome};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in DESIGN.md; 0: a service broke.
    pub promise: u32,
    /// What happened.
    pub what: String,
}

/// Collects violations.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Takes one down.
    pub fn add(&mut self, promise: u32, what: impl Into<String>) {
        self.0.push(Violation { promise, what: what.into() });
    }

    /// All of them.
    #[must_use]
    pub fn into_vec(self) -> Vec<Violation> {
        self.0
    }
}

/// Checks a finished run.
pub fn all(cluster: &Cluster, violations: &mut Violations) {
    let entries = cluster.history.entries();
    let journal = cluster.disk.journal();
    services_lived(&entries, violations);
    creates_are_kept(&entries, &journal, violations);
    stops_hold(&entries, &journal, violations);
    nodes_are_not_over_committed(&journal, violations);
    engines_are_not_over_committed(cluster, &journal, violations);
    finished_stays_finished(&journal, violations);
    attempts_start_once(&entries, violations);
    only_what_failed_is_restarted_by_its_worker(&entries, &journal, violations);
    the_lonely_run_alone(cluster, &journal, violations);
    wrong_requests_change_nothing(&entries, &journal, violations);
}

fn services_lived(entries: &[Entry], violations: &mut Violations) {
    for entry in entries {
        if let Event::Broke(what) = &entry.event {
            violations.add(0, what);
        }
    }
}

/// Every version of every task that the disk has.
fn versions(journal: &[Arc<Batch>]) -> impl Iterator<Item = &Arc<Task>> {
    journal.iter().flat_map(|batch| &batch.changes).filter_map(|change| match &change.versions {
        Versions::Task { after, .. } => after.as_ref(),
        Versions::Node { .. } => None,
    })
}

/// 1: what was answered is there for good; the same request never makes two.
fn creates_are_kept(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let model = Model::of(journal);
    let deleted: BTreeSet<TaskId> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Answered { call: Call::Delete(task_id), .. } => Some(*task_id),
            _ => None,
        })
        .collect();
    let mut by_name: BTreeMap<&str, BTreeSet<TaskId>> = BTreeMap::new();
    for task in versions(journal) {
        by_name.entry(&task.spec.name).or_default().insert(task.task_id);
    }
    for entry in entries {
        let Event::Answered { call: Call::Create { name, count, .. }, outcome, durable } = &entry.event else {
            continue;
        };
        let made = by_name.get(name.as_str()).map_or(0, BTreeSet::len);
        if made > usize::try_from(*count).unwrap_or(usize::MAX) {
            violations.add(1, format!("{name} was asked for {count} times and made {made} times"));
        }
        let Outcome::Created(task_ids) = outcome else { continue };
        if !durable {
            violations.add(1, format!("{name} was answered at {:?} before it was durable", entry.at));
        }
        for task_id in task_ids {
            if !model.tasks.contains_key(task_id) && !deleted.contains(task_id) {
                violations.add(1, format!("{name}: task {task_id} was answered at {:?} and is lost", entry.at));
            }
        }
    }
}

/// 5: a stop that was answered, and not followed by a restart, stays.
fn stops_hold(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let model = Model::of(journal);
    let restarted: BTreeSet<TaskId> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Answered { call: Call::Restart(task_id), .. } => Some(*task_id),
            _ => None,
        })
        .collect();
    for entry in entries {
        if let Event::Answered { call: Call::Stop(task_id), outcome: Outcome::Done, .. } = &entry.event
            && !restarted.contains(task_id)
            && model.tasks.get(task_id).is_some_and(|task| task.desired_state == DesiredState::Running)
        {
            violations.add(5, format!("task {task_id} was stopped at {:?} and is wanted again", entry.at));
        }
    }
}

/// 2: at every commit, what is set aside on a node fits it.
fn nodes_are_not_over_committed(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut model = Model::default();
    for batch in journal {
        model.apply(batch);
        for node in model.nodes.values() {
            let tasks: Vec<&Arc<Task>> = model.placed_on(node.node_id).collect();
            let sum =
                tasks.iter().fold(Resources::ZERO, |sum, task| sum.saturating_add(task.spec.resources.reservation));
            let mut ports = BTreeSet::new();
            let doubled = tasks.iter().flat_map(|task| &task.given_ports).find(|port| !ports.insert(port.host_port));
            let name = &node.description.name;
            let revision = batch.changes.last().map_or(0, |change| change.event.revision.0);
            if exceeds(sum, node.description.allocatable) {
                return violations.add(2, format!("at revision {revision} {sum:?} is set aside on {name}"));
            }
            if let Some(port) = doubled {
                return violations
                    .add(2, format!("at revision {revision} port {} of {name} is given twice", port.host_port));
            }
        }
    }
}

/// 2: at every moment, what an engine really runs fits its node.
fn engines_are_not_over_committed(cluster: &Cluster, journal: &[Arc<Batch>], violations: &mut Violations) {
    let reserved: BTreeMap<TaskId, Resources> =
        versions(journal).map(|task| (task.task_id, task.spec.resources.reservation)).collect();
    let mut worst: BTreeMap<Host, (Resources, Duration)> = BTreeMap::new();
    cluster.history.running_over_time(|at, running| {
        let mut sums: BTreeMap<Host, Resources> = BTreeMap::new();
        for (host, key) in running {
            let sum = sums.entry(host).or_insert(Resources::ZERO);
            *sum = sum.saturating_add(reserved.get(&key.task_id).copied().unwrap_or(Resources::ZERO));
        }
        for (host, sum) in sums {
            if exceeds(sum, ALLOCATABLE) {
                worst.entry(host).or_insert((sum, at));
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

/// 3: a task that completed runs again only if a user says so.
fn finished_stays_finished(journal: &[Arc<Batch>], violations: &mut Violations) {
    let mut completed: BTreeMap<TaskId, AttemptKey> = BTreeMap::new();
    for task in versions(journal) {
        let state = task.status.state;
        if let Some(done) = completed.get(&task.task_id)
            && task.spec.restart.max_attempts == 0
            && task.spec.restart.mode != davit_core::restart::RestartMode::Always
        {
            let again_by_user = task.wanted_attempt > done.attempt;
            if !again_by_user && (task.status.attempt != done.attempt || state != TaskState::Completed) {
                violations
                    .add(3, format!("{done} had completed, and then attempt {} was {state}", task.status.attempt));
            }
        }
        if state == TaskState::Completed {
            completed.insert(task.task_id, task.key());
        }
    }
}

/// 3 and 4: no attempt is ever started twice, on whatever engine.
fn attempts_start_once(entries: &[Entry], violations: &mut Violations) {
    let mut started = BTreeSet::new();
    for entry in entries {
        if let Event::Started { host, key } = &entry.event
            && !started.insert(*key)
        {
            violations.add(3, format!("attempt {key} was started a second time at {:?}, by {host}", entry.at));
        }
    }
}

/// 3: a cut-off worker restarts only what its policy says.
fn only_what_failed_is_restarted_by_its_worker(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    use davit_core::restart::RestartMode;
    let modes: BTreeMap<TaskId, RestartMode> =
        versions(journal).map(|task| (task.task_id, task.spec.restart.mode)).collect();
    let mut ends = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Ended { key, exit_code, .. } => {
                ends.insert(*key, *exit_code);
            }
            Event::Restarted { host, key } => {
                let allowed = match modes.get(&key.task_id) {
                    Some(RestartMode::Always) => true,
                    Some(RestartMode::OnFailure) => ends.get(key).is_some_and(|exit_code| *exit_code != 0),
                    Some(RestartMode::Never) | None => false,
                };
                if !allowed {
                    violations.add(3, format!("{host} restarted {key} at {:?} against its policy", entry.at));
                }
            }
            _ => {}
        }
    }
}

/// 4: of a task with `stop_and_replace` no two attempts run at the same moment.
fn the_lonely_run_alone(cluster: &Cluster, journal: &[Arc<Batch>], violations: &mut Violations) {
    let lonely: BTreeSet<TaskId> = versions(journal)
        .filter(|task| task.spec.on_node_loss == OnNodeLoss::StopAndReplace)
        .map(|task| task.task_id)
        .collect();
    let mut told = BTreeSet::new();
    cluster.history.running_over_time(|at, running| {
        let mut seen: BTreeMap<TaskId, (Host, AttemptKey)> = BTreeMap::new();
        for (host, key) in running.iter().filter(|(_, key)| lonely.contains(&key.task_id)) {
            if let Some((other_host, other)) = seen.insert(key.task_id, (host, *key))
                && told.insert(key.task_id)
            {
                violations.add(4, format!("at {at:?} {key} runs on {host} beside {other} on {other_host}"));
            }
        }
    });
}

/// 7: wrong requests are told so and leave nothing.
fn wrong_requests_change_nothing(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let names: BTreeSet<&str> = versions(journal).map(|task| task.spec.name.as_str()).collect();
    for entry in entries {
        let Event::Answered { call: Call::CreateWrong { name }, outcome, .. } = &entry.event else { continue };
        if !matches!(outcome, Outcome::Refused(Code::InvalidArgument) | Outcome::Unknown(_)) {
            violations.add(7, format!("a wrong request was answered {outcome:?}"));
        }
        if names.contains(name.as_str()) {
            violations.add(7, format!("a wrong request made the task {name}"));
        }
    }
}

/// 5: what is not as it should be, once all is quiet: empty when all is well.
#[must_use]
pub fn unsettled(cluster: &Cluster) -> Vec<String> {
    let model = Model::of(&cluster.disk.journal());
    let mut problems: Vec<String> = model.tasks.values().filter_map(|task| model.unsettled(task)).collect();
    for (host, machine) in &cluster.machines {
        let owner = machine.owner(NAME);
        let state = model.nodes.get(&owner.node_id).map(|node| node.state);
        if state != Some(NodeState::Ready) {
            problems.push(format!("{host} is {state:?}"));
        }
        let runs: BTreeSet<AttemptKey> = machine.engine.running(&owner).into_iter().collect();
        let wanted = model.running_on(owner.node_id);
        problems.extend(runs.difference(&wanted).map(|key| format!("{host} runs {key}, which is not wanted there")));
        problems
            .extend(wanted.difference(&runs).map(|key| format!("{host} does not run {key}, which is wanted there")));
    }
    problems
}
