//! All that is known of a node.

use davit_proto::v1;
use jiff::Timestamp;

use super::{Lines, amounts};
use crate::output::style::{Palette, Tone};
use crate::output::table::{cores, counted_cores, runtime, runtimes, used};
use crate::output::text::{age, drain_line, from_proto_time, human_bytes, node_state};

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
        let is_over = drain.state() == v1::DrainState::Drained;
        lines.add_time("Deadline", drain.deadline.as_ref().filter(|_| !is_over), now);
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
