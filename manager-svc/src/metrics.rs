//! What the manager counts.

use std::time::Duration;

use davit_core::node::NodeState;
use davit_core::state::TaskState;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::commands::{PlacementReport, PreemptionReport, ReportCounts};
use crate::state::ClusterState;

const CHANGES: &str = "davit_manager_changes_total";
const COMMITS: &str = "davit_manager_commits_total";
const COMMIT_FAILURES: &str = "davit_manager_commit_failures_total";
const COMMIT_SECONDS: &str = "davit_manager_commit_seconds";
const SESSIONS: &str = "davit_manager_sessions";
const SESSIONS_TOTAL: &str = "davit_manager_sessions_total";
const REPORTS_APPLIED: &str = "davit_manager_reports_applied_total";
const REPORTS_STALE: &str = "davit_manager_reports_stale_total";
const PLACEMENTS: &str = "davit_manager_placements_total";
const PLACEMENTS_REJECTED: &str = "davit_manager_placements_rejected_total";
const PREEMPTED: &str = "davit_manager_preempted_tasks_total";
const SCHEDULER_CONNECTED: &str = "davit_manager_scheduler_connected";
const FOREIGN_REMOVALS: &str = "davit_manager_foreign_removals_total";
const TASKS: &str = "davit_manager_tasks";
const NODES: &str = "davit_manager_nodes";
const VISITED_TASKS: &str = "davit_manager_visited_tasks_total";
const VISITED_NODES: &str = "davit_manager_visited_nodes_total";

/// Says what the names mean, and makes the counters appear before anything happened.
pub(crate) fn describe() {
    describe_counter!(CHANGES, "Changes of the cluster that were committed");
    describe_counter!(COMMITS, "Batches that were committed; one carries many changes");
    describe_counter!(COMMIT_FAILURES, "Batches that the store did not take; nothing changed then");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time until the store has a batch");
    describe_gauge!(SESSIONS, "Sessions of workers that are open");
    describe_counter!(SESSIONS_TOTAL, "Sessions of workers that were opened");
    describe_counter!(REPORTS_APPLIED, "Reports of attempts that told something new");
    describe_counter!(REPORTS_STALE, "Reports of attempts that were known already or overtaken, and dropped");
    describe_counter!(PLACEMENTS, "Placements of the scheduler that were committed");
    describe_counter!(PLACEMENTS_REJECTED, "Placements of the scheduler that no longer fitted");
    describe_gauge!(SCHEDULER_CONNECTED, "1 while the placement stream is open");
    describe_counter!(
        FOREIGN_REMOVALS,
        "Attempts left by nodes that are gone, which other workers were told to remove"
    );
    describe_gauge!(TASKS, "Tasks in each state");
    describe_gauge!(NODES, "Nodes in each state");
    describe_counter!(
        VISITED_TASKS,
        "Tasks that were looked at one after the other; follows what changes, not what there is"
    );
    describe_counter!(
        VISITED_NODES,
        "Nodes that were looked at one after the other; follows what changes, not what there is"
    );
    let counters = [CHANGES, COMMITS, COMMIT_FAILURES, SESSIONS_TOTAL, REPORTS_APPLIED, REPORTS_STALE, PLACEMENTS];
    for name in counters.into_iter().chain([PLACEMENTS_REJECTED, FOREIGN_REMOVALS]) {
        counter!(name).absolute(0);
    }
    gauge!(SESSIONS).increment(0.0);
    scheduler_connected(false);
}

/// Counts a batch that the store took, or not.
pub(crate) fn commit(changes: usize, took: Duration, committed: bool) {
    histogram!(COMMIT_SECONDS).record(took);
    if committed {
        counter!(CHANGES).increment(changes as u64);
        counter!(COMMITS).increment(1);
    } else {
        counter!(COMMIT_FAILURES).increment(1);
    }
}

/// Counts reports of attempts.
pub(crate) fn reports(counts: ReportCounts) {
    counter!(REPORTS_APPLIED).increment(counts.applied);
    counter!(REPORTS_STALE).increment(counts.stale);
}

/// Counts what became of the scheduler's proposals.
pub(crate) fn placements(report: &PlacementReport) {
    counter!(PLACEMENTS).increment(report.committed as u64);
    counter!(PLACEMENTS_REJECTED).increment(report.rejected.len() as u64);
}

/// Counts tasks that are stopped for others of higher priority.
pub(crate) fn preemptions(report: &PreemptionReport) {
    counter!(PREEMPTED).increment(report.victims as u64);
}

/// Counts an attempt of a node that is gone, which another worker is told to remove.
pub(crate) fn foreign_removal() {
    counter!(FOREIGN_REMOVALS).increment(1);
}

/// Says whether the placement stream is open.
pub(crate) fn scheduler_connected(connected: bool) {
    gauge!(SCHEDULER_CONNECTED).set(f64::from(u8::from(connected)));
}

/// Says how many tasks and nodes are in each state, and how many were visited.
pub(crate) fn cluster(state: &ClusterState) {
    for known in TaskState::ALL {
        gauge!(TASKS, "state" => known.to_string()).set(state.task_count(known) as f64);
    }
    for known in [NodeState::Ready, NodeState::Suspect, NodeState::Down] {
        gauge!(NODES, "state" => known.to_string()).set(state.node_count_in(known) as f64);
    }
    let visited = state.visited();
    counter!(VISITED_TASKS).absolute(visited.tasks);
    counter!(VISITED_NODES).absolute(visited.nodes);
}

/// Counts one session for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenSession(());

impl OpenSession {
    pub(crate) fn count() -> Self {
        counter!(SESSIONS_TOTAL).increment(1);
        gauge!(SESSIONS).increment(1.0);
        Self(())
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        gauge!(SESSIONS).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::KeptEvents;
    use crate::store::Snapshot;

    #[test]
    fn every_name_is_there_with_its_meaning() {
        let handle = davit_svc_kit::http::install_metrics().unwrap();
        describe();
        cluster(&ClusterState::from_snapshot(Snapshot::default(), KeptEvents::up_to(1)));
        commit(1, Duration::from_millis(1), true);
        let text = handle.render();
        let counters = [CHANGES, COMMITS, COMMIT_FAILURES, SESSIONS_TOTAL, REPORTS_APPLIED, REPORTS_STALE];
        let others = [
            PLACEMENTS,
            PLACEMENTS_REJECTED,
            COMMIT_SECONDS,
            SESSIONS,
            SCHEDULER_CONNECTED,
            TASKS,
            NODES,
            FOREIGN_REMOVALS,
            VISITED_TASKS,
            VISITED_NODES,
        ];
        for name in counters.iter().chain(&others) {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} in {text}");
        }
        assert!(text.contains("davit_manager_tasks{state=\"PENDING\"} 0"), "{text}");
        assert!(text.contains("davit_manager_nodes{state=\"READY\"} 0"), "{text}");
    }
}
