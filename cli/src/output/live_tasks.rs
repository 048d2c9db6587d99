//! The tasks of a deployment or of a job's run while it is being followed, one a line.

use davit_proto::v1;
use jiff::Timestamp;

use super::known_nodes::KnownNodes;
use super::live::LiveLine;
use super::style::{Palette, task_tone};
use super::text::{detail, has_ended, is_not_ready, state_of, task_state_and_health};

/// So many tasks of one are shown at most; more would push others off the screen.
const MAX_TASKS: usize = 8;

/// Those that are to run and do not serve yet first, of these the ones that failed; then those that go, then those that serve;
/// without those that are gone. `unlisted` is how many more there are that are not among `tasks`.
#[must_use]
pub fn live_tasks(
    tasks: &[v1::Task],
    unlisted: usize,
    nodes: &KnownNodes,
    now: Timestamp,
    palette: Palette,
) -> Vec<LiveLine> {
    let is_wanted = |task: &v1::Task| task.desired_state() == v1::DesiredState::Running;
    let mut shown: Vec<&v1::Task> = tasks.iter().filter(|task| is_wanted(task) || !has_ended(state_of(task))).collect();
    let serves = |task: &v1::Task| state_of(task) == v1::TaskState::Running && !is_not_ready(task);
    shown.sort_by_key(|task| {
        (is_wanted(task) && serves(task), !is_wanted(task), !has_failed(task), place(task), task.task_id.clone())
    });
    let more = (shown.len() + unlisted).saturating_sub(MAX_TASKS);
    let mut lines: Vec<LiveLine> = shown.iter().take(MAX_TASKS).map(|task| line(task, nodes, now, palette)).collect();
    if more > 0 {
        lines.push(LiveLine::plain(format!("  … and {more} more")));
    }
    lines
}

/// Whether it has failed, or waits to be tried again.
fn has_failed(task: &v1::Task) -> bool {
    match state_of(task) {
        v1::TaskState::Failed | v1::TaskState::Lost => true,
        v1::TaskState::Pending | v1::TaskState::Scheduled | v1::TaskState::Preparing => task.attempt > 1,
        v1::TaskState::Running
        | v1::TaskState::Stopping
        | v1::TaskState::Stopped
        | v1::TaskState::Completed
        | v1::TaskState::Unspecified => false,
    }
}

/// Its slot, or its index.
fn place(task: &v1::Task) -> u32 {
    let index = task.job.as_ref().map(|of_run| of_run.index);
    index.or(task.deployment.as_ref().map(|slot| slot.slot)).unwrap_or(0)
}

/// What people call it beside what it belongs to.
#[must_use]
pub(super) fn place_name(task: &v1::Task) -> String {
    match (&task.job, place(task)) {
        (Some(_), index) => format!("index {index}"),
        (None, 0) => "task".to_owned(),
        (None, slot) => format!("slot {slot}"),
    }
}

fn line(task: &v1::Task, nodes: &KnownNodes, now: Timestamp, palette: Palette) -> LiveLine {
    let node = task.status.as_ref().map(|status| nodes.of(&status.node_id)).unwrap_or_default();
    let on = if node.is_empty() { String::new() } else { format!(" on {node}") };
    let state = palette.paint(task_tone(state_of(task)), task_state_and_health(task));
    LiveLine { text: format!("  {}  {state}{on}", place_name(task)), cause: cause(task, nodes, now) }
}

/// Of a task that is tried again also why the attempt before failed: what is told of it now is only when the next one comes.
fn cause(task: &v1::Task, nodes: &KnownNodes, now: Timestamp) -> String {
    let told = nodes.detail_of(task, now);
    let before = task.past_attempts.last().filter(|_| has_failed(task) && !has_ended(state_of(task)));
    let Some(before) = before else { return told };
    let why = before.status.as_ref().map(|status| detail(status, now)).unwrap_or_default();
    let parts = match (state_of(task), why.as_str()) {
        (_, "") => vec![told],
        (v1::TaskState::Pending, _) => vec![why, told],
        _ => vec![told, format!("attempt {}: {why}", before.attempt)],
    };
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
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

    fn told(tasks: &[v1::Task], unlisted: usize, nodes: &KnownNodes) -> String {
        let lines = live_tasks(tasks, unlisted, nodes, NOW, Palette::new(false));
        lines.iter().map(LiveLine::whole).collect::<Vec<_>>().join("\n")
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
        insta::assert_snapshot!(told(&tasks, 0, &nodes));
        let many: Vec<_> = (1..=12).map(|slot| of_slot(slot, v1::TaskState::Running, true)).collect();
        assert!(told(&many, 0, &nodes).ends_with("\n  … and 4 more"));
        assert!(told(&many, 30, &nodes).ends_with("\n  … and 34 more"));
    }

    #[test]
    fn of_a_run_what_failed_comes_first_and_says_why() {
        let node = v1::Node { node_id: node_id(1), name: "node-1".into(), ..Default::default() };
        let nodes: KnownNodes = [&node].into_iter().collect();
        let of_index = |index: u32, state, attempt, reason: &str| {
            let mut task = of_slot(index + 1, state, true);
            (task.deployment, task.job) = (None, Some(v1::JobIndex { run: 1, index, ..Default::default() }));
            task.attempt = attempt;
            task.status.get_or_insert_default().reason = reason.into();
            task
        };
        let tried_again = |mut task: v1::Task| {
            let status = v1::TaskStatus {
                state: v1::TaskState::Failed.into(),
                reason: "exited with code 3".into(),
                ..Default::default()
            };
            task.past_attempts = vec![v1::TaskAttempt { attempt: 1, status: Some(status) }];
            task
        };
        let tasks = [
            of_index(0, v1::TaskState::Running, 1, ""),
            of_index(1, v1::TaskState::Preparing, 1, ""),
            tried_again(of_index(2, v1::TaskState::Pending, 2, "attempt 1 failed; attempt 2 in 0.7 s")),
            tried_again(of_index(4, v1::TaskState::Preparing, 2, "")),
            of_index(3, v1::TaskState::Failed, 4, "exited with code 3"),
        ];
        insta::assert_snapshot!(told(&tasks, 0, &nodes));
    }
}
