//! All that is known of one thing, for people.

use davit_proto::v1;
use jiff::Timestamp;

use super::style::{Palette, Tone, task_tone};
use super::table::{NodeNames, cores, counted_cores, runtime, runtimes, used};
use super::text::{
    Promise, age, detail, drain_line, from_proto_time, human_bytes, node_state, ports, promise, state_of,
    state_short_name, task_name,
};

/// Lines of `key: value`, with the values in one column. Lines without a value are left out.
#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((key.into(), value));
        }
    }

    fn add_time(&mut self, key: &str, time: Option<&prost_types::Timestamp>, now: Timestamp) {
        if let Some(time) = from_proto_time(time) {
            let distance =
                if time > now { format!("in {}", age(now, time)) } else { format!("{} ago", age(time, now)) };
            self.add(key, format!("{time:.0} ({distance})"));
        }
    }

    fn add_pairs<'a>(&mut self, key: &str, pairs: impl IntoIterator<Item = (&'a String, &'a String)>) {
        self.add(key, pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "));
    }

    fn finish(self) -> String {
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
pub fn task(task: &v1::Task, nodes: &NodeNames, now: Timestamp, palette: Palette) -> String {
    let mut lines = Lines::default();
    let status = task.status.clone().unwrap_or_default();
    let state = state_of(task);
    lines.add("Task", &task.task_id);
    lines.add("Name", task_name(task));
    lines.add("State", palette.paint(task_tone(state), state_short_name(state)));
    lines.add("Detail", detail(&status, now));
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

fn node_of(status: &v1::TaskStatus, nodes: &NodeNames) -> String {
    nodes.of(&status.node_id).to_owned()
}

fn add_spec(lines: &mut Lines, spec: &v1::TaskSpec) {
    lines.add_pairs("Labels", &spec.labels);
    match &spec.runtime {
        Some(v1::task_spec::Runtime::Container(container)) => {
            lines.add("Image", &container.image);
            lines.add("Entrypoint", words(&container.entrypoint));
            lines.add("Command", words(&container.command));
            lines.add_pairs("Environment", &container.env);
            lines.add("Directory", &container.working_dir);
            lines.add("User", &container.user);
            lines.add("Mounts", container.mounts.iter().map(mount).collect::<Vec<_>>().join("\n"));
        }
        Some(v1::task_spec::Runtime::Process(process)) => {
            lines.add("Process", words(&process.command));
            lines.add_pairs("Environment", &process.env);
            lines.add("Directory", &process.working_dir);
        }
        None => {}
    }
    let resources = spec.resources.unwrap_or_default();
    lines.add("Reservation", amounts(resources.reservation));
    lines.add("Limit", amounts(resources.limit));
    lines.add("Constraints", spec.constraints.join("\n"));
    if let Some(policy) = &spec.placement {
        add_policy(lines, policy);
    }
    if let Some(policy) = &spec.restart_policy {
        let mode = policy.mode().as_str_name();
        let mode = mode.strip_prefix("RESTART_MODE_").unwrap_or(mode);
        let limit = match policy.max_attempts {
            0 => String::new(),
            most => format!(", at most {most} attempts"),
        };
        lines.add("Restart", format!("{mode}{limit}"));
    }
    lines.add("Node loss", spec.on_node_loss.as_ref().map(node_loss).unwrap_or_default());
}

/// What happens when the task's node goes down; empty for what happens to most tasks.
fn node_loss(policy: &v1::NodeLossPolicy) -> String {
    match policy.action() {
        v1::NodeLossAction::Unspecified | v1::NodeLossAction::Replace => String::new(),
        v1::NodeLossAction::Wait => {
            let wait = policy.wait.unwrap_or_default();
            format!("replaced after {} s", wait.seconds)
        }
        v1::NodeLossAction::StopAndReplace => "stopped, then replaced: never two at once".to_owned(),
    }
}

fn add_policy(lines: &mut Lines, policy: &v1::PlacementPolicy) {
    lines.add("Platform", &policy.platform);
    lines.add("Near", policy.task_affinities.join("\n"));
    lines.add("Away from", policy.task_anti_affinities.join("\n"));
    lines.add("Per node", policy.max_per_node.map(|most| format!("at most {most}")).unwrap_or_default());
    let weighed = |likes: bool| {
        let chosen = policy.affinities.iter().filter(|each| (each.weight > 0) == likes);
        let one = |each: &v1::NodeAffinity| format!("{} (weight {})", each.expression, each.weight.unsigned_abs());
        chosen.map(one).collect::<Vec<_>>().join("\n")
    };
    lines.add("Prefers", weighed(true));
    lines.add("Avoids", weighed(false));
    let over = |each: &v1::SpreadPreference| match each.weight {
        Some(weight) => format!("{} (weight {weight})", each.attribute),
        None => each.attribute.clone(),
    };
    lines.add("Spread over", policy.spread.iter().map(over).collect::<Vec<_>>().join("\n"));
    lines.add("Algorithm", &policy.algorithm);
    if policy.priority != 0 || policy.may_preempt {
        let preempts = if policy.may_preempt { ", may take the place of lower ones" } else { "" };
        lines.add("Priority", format!("{}{preempts}", policy.priority));
    }
}

fn mount(mount: &v1::Mount) -> String {
    let source = match &mount.source {
        Some(v1::mount::Source::BindPath(path)) => path,
        Some(v1::mount::Source::VolumeName(name)) => name,
        None => "?",
    };
    let access = if mount.read_only { ":ro" } else { "" };
    format!("{source}:{}{access}", mount.target)
}

/// Words so that a shell would read the same ones.
fn words(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
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

/// A node.
#[must_use]
pub fn node(node: &v1::Node, now: Timestamp, palette: Palette) -> String {
    let mut lines = Lines::default();
    let allocated = node.allocated.unwrap_or_default();
    let allocatable = node.allocatable.unwrap_or_default();
    let tone = if node.state() == v1::NodeState::Ready { Tone::Good } else { Tone::Bad };
    lines.add("Node", &node.node_id);
    lines.add("Name", &node.name);
    lines.add("State", palette.paint(tone, &node_state(node)));
    lines.add("Reason", &node.state_reason);
    lines.add_time("Since", node.state_time.as_ref(), now);
    lines.add("Address", &node.address);
    lines.add("Platform", format!("{}/{}", node.os, node.arch));
    lines.add("Runtimes", runtimes(node));
    for problem in &node.runtime_problems {
        let since = from_proto_time(problem.start_time.as_ref()).map_or_else(String::new, |time| age(time, now));
        lines.add("Failing", format!("{}, for {since}: {}", runtime(problem.kind()), problem.problem));
    }
    lines.add_pairs("Labels", &node.labels);
    lines.add_pairs("Set by users", &node.user_labels);
    if let Some(range) = &node.port_range {
        lines.add("Gives ports", format!("{} to {}", range.first, range.last));
    }
    if let Some(drain) = &node.drain {
        lines.add("Drain", drain_line(drain));
        lines.add_time("Deadline", drain.deadline.as_ref(), now);
    }
    lines.add("Tasks", node.task_count.to_string());
    lines.add("CPU", format!("{} / {} set aside", cores(allocated.cpu_millis), counted_cores(allocatable.cpu_millis)));
    lines.add("Memory", format!("{} set aside", used(allocated.memory_bytes, allocatable.memory_bytes)));
    lines.add("Disk", format!("{} set aside", used(allocated.disk_bytes, allocatable.disk_bytes)));
    lines.add("Machine", amounts(node.capacity));
    if let Some(stats) = &node.stats {
        let measured = format!(
            "{}, {} memory, {} disk, load {:.2}",
            counted_cores(stats.cpu_used_millis),
            human_bytes(stats.memory_used_bytes),
            human_bytes(stats.disk_used_bytes),
            stats.load_1m
        );
        lines.add("In use", measured);
    }
    lines.add("Worker", &node.worker_version);
    lines.add_time("Joined", node.create_time.as_ref(), now);
    lines.finish()
}

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
fn schedulers(scheduler: &v1::SchedulerConnection, palette: Palette) -> String {
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

#[cfg(test)]
mod tests;
