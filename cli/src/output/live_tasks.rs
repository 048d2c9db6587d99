//! The tasks of a deployment while it is being followed, one a line.

use davit_proto::v1;
use jiff::Timestamp;

use super::known_nodes::KnownNodes;
use super::style::{Palette, task_tone};
use super::table::{DETAIL_CHARS, cut};
use super::text::{has_ended, is_not_ready, state_of, task_state_and_health};

/// So many lines a deployment gets at most; more would push others off the screen.
const MAX_LINES: usize = 8;

/// Those that are to run and do not serve yet first, then those that go, then those that serve; without those that are gone.
#[must_use]
pub fn live_tasks(tasks: &[v1::Task], nodes: &KnownNodes, now: Timestamp, palette: Palette) -> String {
    let is_wanted = |task: &v1::Task| task.desired_state() == v1::DesiredState::Running;
    let mut shown: Vec<&v1::Task> = tasks.iter().filter(|task| is_wanted(task) || !has_ended(state_of(task))).collect();
    let serves = |task: &v1::Task| state_of(task) == v1::TaskState::Running && !is_not_ready(task);
    shown.sort_by_key(|task| (is_wanted(task) && serves(task), !is_wanted(task), slot(task), task.task_id.clone()));
    let more = shown.len().saturating_sub(MAX_LINES);
    let mut lines: Vec<String> = shown.iter().take(MAX_LINES).map(|task| line(task, nodes, now, palette)).collect();
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    lines.join("\n")
}

fn slot(task: &v1::Task) -> u32 {
    task.deployment.as_ref().map_or(0, |slot| slot.slot)
}

fn line(task: &v1::Task, nodes: &KnownNodes, now: Timestamp, palette: Palette) -> String {
    let place = match slot(task) {
        0 => "task".to_owned(),
        slot => format!("slot {slot}"),
    };
    let node = task.status.as_ref().map(|status| nodes.of(&status.node_id)).unwrap_or_default();
    let on = if node.is_empty() { String::new() } else { format!(" on {node}") };
    let state = palette.paint(task_tone(state_of(task)), task_state_and_health(task));
    let detail = cut(nodes.detail_of(task, now), DETAIL_CHARS);
    let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    format!("  {place}  {state}{on}{detail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{NOW, node_id, task};

    fn of_slot(slot: u32, state: v1::TaskState, ready: bool) -> v1::Task {
        let mut task = task(slot, "web", state);
        task.deployment = Some(v1::DeploymentSlot { slot, ..Default::default() });
        let status = task.status.get_or_insert_default();
        status.ready = ready;
        if state != v1::TaskState::Pending {
            status.node_id = node_id(1);
        }
        task
    }

    #[test]
    fn what_does_not_serve_yet_comes_first_and_what_is_gone_is_left_out() {
        let node = v1::Node { node_id: node_id(1), name: "node-1".into(), ..Default::default() };
        let nodes: KnownNodes = [&node].into_iter().collect();
        let mut pulling = of_slot(2, v1::TaskState::Preparing, false);
        let pull =
            v1::PullProgress { downloaded_bytes: 12 << 20, total_bytes: 80 << 20, layers_done: 2, layers_total: 5 };
        pulling.status.as_mut().unwrap().pull_progress = Some(pull);
        let mut gone = of_slot(9, v1::TaskState::Stopped, false);
        gone.desired_state = v1::DesiredState::Stopped.into();
        let mut going = of_slot(3, v1::TaskState::Stopping, false);
        going.desired_state = v1::DesiredState::Stopped.into();
        let tasks = [
            of_slot(1, v1::TaskState::Running, true),
            going,
            gone,
            pulling,
            of_slot(4, v1::TaskState::Running, false),
            of_slot(5, v1::TaskState::Pending, false),
        ];
        insta::assert_snapshot!(live_tasks(&tasks, &nodes, NOW, Palette::new(false)));
        let many: Vec<_> = (1..=12).map(|slot| of_slot(slot, v1::TaskState::Running, true)).collect();
        assert!(live_tasks(&many, &nodes, NOW, Palette::new(false)).ends_with("\n  … and 4 more"));
    }
}
