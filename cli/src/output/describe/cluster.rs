//! All that is known of the cluster.

use davit_proto::v1;

use super::Lines;
use crate::output::style::{Palette, Tone};
use crate::output::table::{cores, counted_cores, used};

/// The cluster.
#[must_use]
pub fn cluster(cluster: &v1::Cluster, palette: Palette) -> String {
    let mut lines = Lines::default();
    let short = |name: &'static str, prefix: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    lines.add("Cluster", &cluster.name);
    lines.add("Id", &cluster.cluster_id);
    lines.add("Manager", &cluster.manager_version);
    if !cluster.read_only_reason.is_empty() {
        let why = &cluster.read_only_reason;
        lines.add("Changes", format!("{}: {why}", palette.paint(Tone::Bad, "refused")));
    }
    lines.add("Revision", format!("{} (events kept from {})", cluster.revision, cluster.oldest_event_revision));
    let nodes = cluster.nodes.iter().map(|each| (each.count, short(each.state().as_str_name(), "NODE_STATE_")));
    lines.add("Nodes", counts(nodes));
    let tasks = cluster.tasks.iter().map(|each| (each.count, short(each.state().as_str_name(), "TASK_STATE_")));
    lines.add("Tasks", counts(tasks));
    if let Some(totals) = &cluster.totals {
        let ended = [
            (totals.completed, "COMPLETED"),
            (totals.failed, "FAILED"),
            (totals.stopped, "STOPPED"),
            (totals.lost, "LOST"),
        ];
        let ended = ended.into_iter().filter(|(count, _)| *count > 0).map(|(count, state)| (count, state.to_owned()));
        let created = [(totals.created, "created".to_owned())];
        lines.add("Ever", counts(created.into_iter().chain(ended)));
    }
    let allocated = cluster.allocated.unwrap_or_default();
    let allocatable = cluster.allocatable.unwrap_or_default();
    lines.add("CPU", format!("{} / {} set aside", cores(allocated.cpu_millis), counted_cores(allocatable.cpu_millis)));
    lines.add("Memory", format!("{} set aside", used(allocated.memory_bytes, allocatable.memory_bytes)));
    lines.add("Disk", format!("{} set aside", used(allocated.disk_bytes, allocatable.disk_bytes)));
    if let Some(scheduler) = &cluster.scheduler {
        lines.add("Scheduler", schedulers(scheduler, palette));
        lines.add("Algorithm", &scheduler.default_algorithm);
    }
    if let Some(period) = &cluster.heartbeat_period {
        lines.add("Heartbeat", format!("every {} s", period.seconds as f64 + f64::from(period.nanos) / 1e9));
    }
    lines.finish()
}

/// One line a scheduler: while one of several is dialled, the reason is that of the one before.
pub(super) fn schedulers(scheduler: &v1::SchedulerConnection, palette: Palette) -> String {
    let line = |address: &str, connected: bool, why: &str| {
        let (tone, state) = if connected { (Tone::Good, "connected") } else { (Tone::Bad, "not connected") };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        format!("{address}, {}{why}", palette.paint(tone, state))
    };
    let v1::SchedulerConnection { address, connected, reason, .. } = scheduler;
    match reason.split_once(" can't be reached: ") {
        Some((dialled, why)) if dialled == address => line(address, *connected, why),
        Some((other, why)) if !other.contains(' ') => {
            format!("{}\n{}", line(address, *connected, ""), line(other, false, why))
        }
        _ => line(address, *connected, reason),
    }
}

fn counts(counts: impl Iterator<Item = (u64, String)>) -> String {
    let text = counts.map(|(count, state)| format!("{count} {state}")).collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}
