//! The promises of DESIGN.md section 8, checked from what clients were told, what engines did and what the disk holds: one
//! file for each theme.

mod answers;
mod attempts;
mod clones;
mod deployments;
mod drains;
mod homes;
mod jobs;
mod order;
mod places;
mod quiet;
mod replay;
mod room;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::id::{AttemptKey, NodeId, TaskId};
use davit_core::spec::OnNodeLoss;
use davit_core::task::Task;
use manager_svc::state::{Batch, Versions};

pub use self::quiet::unsettled;
use crate::cluster::Cluster;
use crate::history::{Entry, Event};
use crate::workload::Call;

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
    answers::creates_are_kept(&entries, &journal, violations);
    answers::stops_hold(&entries, &journal, violations);
    answers::wrong_requests_change_nothing(&entries, &journal, violations);
    order::revisions_are_contiguous(&journal, violations);
    order::tasks_go_forwards(&journal, violations);
    room::nodes_are_not_over_committed(&journal, violations);
    room::engines_are_not_over_committed(&entries, &journal, violations);
    homes::what_is_kept_is_placed_at_home(&journal, violations);
    drains::drains_keep_their_pace(&journal, violations);
    drains::drained_nodes_are_empty(cluster, &entries, &journal, violations);
    attempts::finished_stays_finished(&entries, &journal, violations);
    attempts::attempts_start_once(&entries, &journal, violations);
    attempts::only_what_failed_is_restarted_by_its_worker(&entries, &journal, violations);
    attempts::what_ended_has_ended(&entries, &journal, violations);
    attempts::nothing_begins_behind_its_completion(&entries, &journal, violations);
    attempts::the_lonely_run_alone(&entries, &journal, violations);
    deployments::answered_versions_are_kept(&entries, &journal, violations);
    deployments::versions_go_forwards(&journal, violations);
    deployments::no_place_has_three(&entries, &journal, violations);
    deployments::what_serves_is_replaced_by_what_serves(&journal, violations);
    jobs::answered_jobs_were_kept(&entries, &journal, violations);
    jobs::no_index_runs_again(&journal, violations);
    jobs::runs_go_forwards(&journal, violations);
}

fn services_lived(entries: &[Entry], violations: &mut Violations) {
    for entry in entries {
        if let Event::Broke(what) = &entry.event {
            violations.add(0, what);
        }
    }
}

/// The tasks that some kind of call was about, whatever became of it.
fn asked_for(entries: &[Entry], task_of: impl Fn(&Call) -> Option<TaskId>) -> BTreeSet<TaskId> {
    let of = |entry: &Entry| match &entry.event {
        Event::Answered { call, .. } => task_of(call),
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

/// Tasks of which two attempts may never run at once.
fn lonely(journal: &[Arc<Batch>]) -> BTreeSet<TaskId> {
    let lonely = versions(journal).filter(|task| task.spec.on_node_loss == OnNodeLoss::StopAndReplace);
    lonely.map(|task| task.task_id).collect()
}

/// As part of which node attempts run.
fn nodes_of(journal: &[Arc<Batch>]) -> BTreeMap<AttemptKey, NodeId> {
    versions(journal).filter_map(|task| Some((task.key(), task.status.node_id?))).collect()
}

/// Every version of every task that the disk has.
fn versions(journal: &[Arc<Batch>]) -> impl Iterator<Item = &Arc<Task>> {
    journal.iter().flat_map(|batch| &batch.changes).filter_map(|change| match &change.versions {
        Versions::Task { after, .. } => after.as_ref(),
        Versions::Node { .. } | Versions::Deployment { .. } | Versions::Job { .. } | Versions::Config { .. } => None,
    })
}
