//! All that is known of one thing, for people.

mod cluster;
mod node;
mod spec;

use davit_proto::v1;
use jiff::Timestamp;

pub use self::cluster::cluster;
pub use self::node::node;
pub(super) use self::spec::add_spec;
use super::known_nodes::KnownNodes;
use super::style::{Palette, Tone, tone_of};
use super::table::counted_cores;
use super::text::{
    Promise, age, detail, from_proto_time, human_bytes, ports, promise, state_short_name, task_name,
    task_state_and_health,
};

/// Lines of `key: value`, with the values in one column. Lines without a value are left out.
#[derive(Default)]
pub(super) struct Lines(Vec<(String, String)>);

impl Lines {
    pub(super) fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((key.into(), value));
        }
    }

    pub(super) fn add_time(&mut self, key: &str, time: Option<&prost_types::Timestamp>, now: Timestamp) {
        if let Some(time) = from_proto_time(time) {
            let distance =
                if time > now { format!("in {}", age(now, time)) } else { format!("{} ago", age(time, now)) };
            self.add(key, format!("{time:.0} ({distance})"));
        }
    }

    pub(super) fn add_pairs<'a>(&mut self, key: &str, pairs: impl IntoIterator<Item = (&'a String, &'a String)>) {
        self.add(key, pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "));
    }

    pub(super) fn finish(self) -> String {
        let width = self.0.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default() + 1;
        let line = |(key, value): &(String, String)| {
            let value = value.replace('\n', &format!("\n{:width$}  ", ""));
            let key = format!("{key}:");
            format!("{key:width$}  {value}\n")
        };
        self.0.iter().map(line).collect()
    }
}

/// A task.
#[must_use]
pub fn task(task: &v1::Task, nodes: &KnownNodes, now: Timestamp, palette: Palette) -> String {
    let mut lines = Lines::default();
    let status = task.status.clone().unwrap_or_default();
    lines.add("Task", &task.task_id);
    lines.add("Name", task_name(task));
    lines.add("State", palette.paint(tone_of(task), task_state_and_health(task)));
    lines.add("Detail", nodes.detail_of(task, now));
    let desired = task.desired_state().as_str_name();
    lines.add("Desired", desired.strip_prefix("DESIRED_STATE_").unwrap_or(desired));
    lines.add("Attempt", task.attempt.to_string());
    lines.add("Node", node_of(&status, nodes));
    if let Some(claim) = &task.claim {
        let node = nodes.of(&claim.node_id);
        let Promise { is_move, why } = promise(claim, node);
        let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
        if is_move {
            lines.add("Moves to", format!("{node}{why}"));
        } else {
            lines.add("Room kept", format!("on {node}{why}"));
        }
    }
    if let Some(place) = &task.deployment {
        let slot = if place.node_id.is_empty() { place.slot.to_string() } else { nodes.of(&place.node_id).to_owned() };
        lines.add("Deployment", format!("{}, slot {slot}", place.deployment_id));
    }
    if let Some(index) = &task.job {
        lines.add("Job", format!("{}, run {}, index {}", index.job_id, index.run, index.index));
    }
    lines.add("Gang", &task.gang_id);
    lines.add("Ports", ports(&status));
    lines.add("Restarts", local_restarts(&status));
    lines.add("Exit code", status.exit_code.map(|code| code.to_string()).unwrap_or_default());
    lines.add_time("Created", task.create_time.as_ref(), now);
    lines.add_time("Started", status.start_time.as_ref(), now);
    lines.add_time("Finished", status.finish_time.as_ref(), now);
    lines.add_time("Next attempt", status.next_attempt_time.as_ref(), now);
    if let Some(spec) = &task.spec {
        add_spec(&mut lines, spec);
    }
    for past in &task.past_attempts {
        let status = past.status.clone().unwrap_or_default();
        let mut text = state_short_name(status.state()).to_owned();
        for (before, part) in [(" on ", node_of(&status, nodes)), (": ", detail(&status, now))] {
            if !part.is_empty() {
                text.push_str(before);
                text.push_str(&part);
            }
        }
        let restarts = local_restarts(&status);
        if !restarts.is_empty() {
            text.push_str(&format!("; restarted {restarts}"));
        }
        if let Some(time) = from_proto_time(status.finish_time.as_ref()) {
            text.push_str(&palette.paint(Tone::Faint, &format!(" ({} ago)", age(time, now))));
        }
        lines.add(format!("Attempt {}", past.attempt), text);
    }
    lines.finish()
}

/// How often its node restarted an attempt by itself; empty: never.
fn local_restarts(status: &v1::TaskStatus) -> String {
    match status.local_restarts {
        0 => String::new(),
        1 => "once by its node, while the manager was out of reach".to_owned(),
        count => format!("{count} times by its node, while the manager was out of reach"),
    }
}

fn node_of(status: &v1::TaskStatus, nodes: &KnownNodes) -> String {
    nodes.of(&status.node_id).to_owned()
}

fn amounts(resources: Option<v1::Resources>) -> String {
    let resources = resources.unwrap_or_default();
    let mut parts = Vec::new();
    if resources.cpu_millis > 0 {
        parts.push(counted_cores(resources.cpu_millis));
    }
    if resources.memory_bytes > 0 {
        parts.push(format!("{} memory", human_bytes(resources.memory_bytes)));
    }
    if resources.disk_bytes > 0 {
        parts.push(format!("{} disk", human_bytes(resources.disk_bytes)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests;
