//! What clients were told, beside what the disk holds: promises 1, 5 and 7.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::id::TaskId;
use davit_core::task::DesiredState;
use manager_svc::state::Batch;
use tonic::Code;

use super::{Violations, asked_for, versions};
use crate::history::{Entry, Event};
use crate::model::Model;
use crate::workload::{Call, Outcome};

/// 1: what was answered is there for good; the same request never makes two.
pub(super) fn creates_are_kept(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let model = Model::of(journal);
    let deleted = asked_for(entries, |call| if let Call::Delete(task_id) = call { Some(*task_id) } else { None });
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
pub(super) fn stops_hold(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
    let model = Model::of(journal);
    let restarted = asked_for(entries, |call| if let Call::Restart(task_id) = call { Some(*task_id) } else { None });
    for entry in entries {
        if let Event::Answered { call: Call::Stop(task_id), outcome: Outcome::Done, .. } = &entry.event
            && !restarted.contains(task_id)
            && model.tasks.get(task_id).is_some_and(|task| task.desired_state == DesiredState::Running)
        {
            violations.add(5, format!("task {task_id} was stopped at {:?} and is wanted again", entry.at));
        }
    }
}

/// 7: wrong requests are told so and leave nothing.
pub(super) fn wrong_requests_change_nothing(entries: &[Entry], journal: &[Arc<Batch>], violations: &mut Violations) {
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
