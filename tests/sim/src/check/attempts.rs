//! Which attempts run, and how often: promises 3 and 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::id::{AttemptKey, NodeId, TaskId};
use davit_core::restart::RestartMode;
use davit_core::state::TaskState;
use davit_core::task::Task;
use manager_svc::state::{Batch, Versions};

use super::clones::Clones;
use super::replay::replay;
use super::trouble::Troubles;
use super::{Violations, asked_for, lonely, versions};
use crate::history::{Entry, Event};
use crate::net::Host;
use crate::workload::Call;

/// 3: a task that completed runs again only if a user says so; neither a drain nor anything else makes it.
pub(super) fn finished_stays_finished(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let restarted = asked_for(entries, |call| if let Call::Restart(task_id) = call { Some(*task_id) } else { None });
    let mut completed: BTreeMap<TaskId, AttemptKey> = BTreeMap::new();
    for task in versions(journal) {
        let state = task.status.state;
        let may_go_on = task.spec.restart.mode == RestartMode::Always || restarted.contains(&task.task_id);
        if let Some(done) = completed.get(&task.task_id)
            && !may_go_on
            && (task.status.attempt != done.attempt || state != TaskState::Completed)
        {
            violations.add(3, format!("{done} had completed, and then attempt {} was {state}", task.status.attempt));
        }
        if state == TaskState::Completed {
            completed.insert(task.task_id, task.key());
        }
    }
}

/// 3 and 4: no attempt is ever started twice, on whatever engine; but by a node and a copy of it, unless it must never run twice.
pub(super) fn attempts_start_once(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let (lonely, clones) = (lonely(journal), Clones::of(entries));
    let mut started = BTreeMap::new();
    for entry in entries {
        if let Event::Started { host, key } = &entry.event
            && let Some(first) = started.insert(*key, *host)
            && (lonely.contains(&key.task_id) || !clones.link(first, host, entry.at))
        {
            violations.add(3, format!("attempt {key} was started a second time at {:?}, by {host}", entry.at));
        }
    }
}

/// 3: a cut-off worker restarts only what its policy says of how it ended there: how a copy's run of it ended it can't know.
pub(super) fn only_what_failed_is_restarted_by_its_worker(
    entries: &[Entry],
    journal: &[Arc<Batch>],
    violations: &mut Violations,
) {
    let modes: BTreeMap<TaskId, RestartMode> =
        versions(journal).map(|task| (task.task_id, task.spec.restart.mode)).collect();
    let mut ends = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Ended { host, key, exit_code } => {
                ends.insert((*host, *key), *exit_code);
            }
            Event::Restarted { host, key } => {
                let allowed = match modes.get(&key.task_id) {
                    Some(RestartMode::Always) => true,
                    Some(RestartMode::OnFailure) => ends.get(&(*host, *key)).is_some_and(|exit_code| *exit_code != 0),
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

/// 5: an attempt that is durably COMPLETED, FAILED or STOPPED runs on no engine, and none begins it. Unless its node has a copy: the
/// manager believes the one that it takes for the node, and both may have it. But not what must never run twice.
pub(super) fn what_ended_has_ended(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let (lonely, clones) = (lonely(journal), Clones::of(entries));
    let mut told = BTreeSet::new();
    replay(entries, journal, |moment| {
        for (host, key) in moment.running {
            let has_double = !lonely.contains(&key.task_id) && clones.touch(host, moment.at);
            if let Some(state) = moment.durable.status_of(*key).map(|status| status.state)
                && state.is_terminal()
                && state != TaskState::Lost
                && !has_double
                && told.insert(*key)
            {
                violations.add(5, format!("at {:?} {key} is {state} and runs on {host}", moment.at));
            }
        }
    });
}

/// 3: no attempt is begun on any engine once a later one of its task has completed. That a worker which is cut off restarts what
/// crashed is another thing: it is promised. So is what an engine in trouble starts late: it was asked to in time.
pub(super) fn nothing_begins_behind_its_completion(
    entries: &[Entry],
    journal: &[Arc<Batch>],
    violations: &mut Violations,
) {
    let (disowned, troubles) = (given_up_with_their_nodes(journal), Troubles::of(entries));
    let mut completed: BTreeMap<TaskId, AttemptKey> = BTreeMap::new();
    for entry in entries {
        match &entry.event {
            Event::Ended { key, exit_code: 0, .. } => {
                let latest = completed.entry(key.task_id).or_insert(*key);
                *latest = (*latest).max(*key);
            }
            Event::Started { host, key } if !disowned.contains(key) && !troubles.hold(host, entry.at) => {
                if let Some(done) = completed.get(&key.task_id).filter(|done| **done > *key) {
                    violations.add(3, format!("{host} began {key} at {:?}, when {done} had completed", entry.at));
                }
            }
            _ => {}
        }
    }
}

/// Attempts that a user gave up with their node, although its worker may have been in touch: it may begin what it was told to
/// begin right before.
fn given_up_with_their_nodes(journal: &[Arc<Batch>]) -> BTreeSet<AttemptKey> {
    let mut given_up = BTreeSet::new();
    for batch in journal {
        let gone = |versions: &Versions| match versions {
            Versions::Node { before: Some(node), after: None } => Some(node.node_id),
            Versions::Node { .. }
            | Versions::Task { .. }
            | Versions::Deployment { .. }
            | Versions::Job { .. }
            | Versions::Config { .. } => None,
        };
        let gone: BTreeSet<NodeId> = batch.changes.iter().filter_map(|change| gone(&change.versions)).collect();
        let before = batch.changes.iter().filter_map(|change| match &change.versions {
            Versions::Task { before, .. } => before.as_ref(),
            Versions::Node { .. } | Versions::Deployment { .. } | Versions::Job { .. } | Versions::Config { .. } => {
                None
            }
        });
        let was_there = |task: &&Arc<Task>| task.status.node_id.is_some_and(|node_id| gone.contains(&node_id));
        given_up.extend(before.filter(was_there).map(|task| task.key()));
    }
    given_up
}

/// 4: of a task with `stop_and_replace` no two attempts run at the same moment. An engine that does not do what it is asked to
/// stops nothing for anybody, also not when the lease of its node has ended: that alone is excused.
pub(super) fn the_lonely_run_alone(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let (lonely, troubles) = (lonely(journal), Troubles::of(entries));
    let mut told = BTreeSet::new();
    replay(entries, journal, |moment| {
        let mut seen: BTreeMap<TaskId, (Host, AttemptKey)> = BTreeMap::new();
        for (host, key) in moment.running.iter().filter(|(_, key)| lonely.contains(&key.task_id)) {
            let Some((other_host, other)) = seen.insert(key.task_id, (host, *key)) else { continue };
            let (earlier_host, earlier) = if *key < other { (*host, *key) } else { (other_host, other) };
            let is_given_up = moment.durable.status_of(earlier).map(|status| status.state) == Some(TaskState::Lost);
            let is_excused = is_given_up && troubles.touch(earlier_host, moment.at);
            if !is_excused && told.insert(key.task_id) {
                let at = moment.at;
                violations.add(4, format!("at {at:?} {key} runs on {host} beside {other} on {other_host}"));
            }
        }
    });
}
