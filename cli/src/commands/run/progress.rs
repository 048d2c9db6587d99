//! Shows where tasks are while a person waits: spinners where there is a terminal, lines where there is none.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use davit_proto::v1;
use indicatif::{MultiProgress, ProgressBar};
use jiff::Timestamp;

use crate::commands::now;
use crate::output::{
    NodeNames, Output, Palette, detail, has_ended, short_id, state_of, state_short_name, task_name, task_tone,
};

/// As many tasks have a line each; more are counted.
const LINES: usize = 8;
const TICK: Duration = Duration::from_millis(100);

/// Where tasks are.
pub(in crate::commands) struct Progress {
    output: Output,
    nodes: NodeNames,
    total: usize,
    bars: MultiProgress,
    on_terminal: bool,
    /// The line of each task, or the one line of all under the empty id.
    lines: HashMap<String, ProgressBar>,
    states: HashMap<String, v1::TaskState>,
    said: HashMap<String, String>,
}

impl Progress {
    /// For so many tasks.
    pub(in crate::commands) fn new(total: usize, nodes: NodeNames, output: &Output) -> Self {
        Self {
            output: *output,
            nodes,
            total,
            bars: MultiProgress::new(),
            on_terminal: io::stderr().is_terminal(),
            lines: HashMap::new(),
            states: HashMap::new(),
            said: HashMap::new(),
        }
    }

    /// A task is somewhere else now.
    pub(in crate::commands) fn show(&mut self, task: &v1::Task) {
        let state = state_of(task);
        let before = self.states.insert(task.task_id.clone(), state);
        if self.total > LINES {
            let text = counts_line(self.states.values().copied(), self.total);
            return self.say(String::new(), text, true);
        }
        let text = task_line(task, &self.nodes, now(), self.output.message_palette);
        // Pull progress comes often: it moves on a terminal and is not worth a line elsewhere.
        let moved = before != Some(state) || state == v1::TaskState::Pending;
        self.say(task.task_id.clone(), text, moved);
    }

    /// Takes the spinners away; what was said stays.
    pub(in crate::commands) fn clear(&mut self) {
        for (_, bar) in self.lines.drain() {
            bar.finish_and_clear();
        }
    }

    fn say(&mut self, line: String, text: String, worth_a_line: bool) {
        if self.said.get(&line) == Some(&text) {
            return;
        }
        if self.on_terminal {
            let bars = &self.bars;
            let bar = self.lines.entry(line.clone()).or_insert_with(|| {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.enable_steady_tick(TICK);
                bar
            });
            bar.set_message(text.clone());
            // With few tasks each state stays on the screen, as it would in a log.
            if worth_a_line && !line.is_empty() && self.total == 1 {
                let _ = bars.println(&text);
            }
        } else if worth_a_line {
            self.output.note(&text);
        }
        self.said.insert(line, text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Where one task is, and why.
fn task_line(task: &v1::Task, nodes: &NodeNames, now: Timestamp, palette: Palette) -> String {
    let status = task.status.clone().unwrap_or_default();
    let state = status.state();
    let mut text = format!("{} {}  ", short_id(&task.task_id), task_name(task));
    text.push_str(&palette.paint(task_tone(state), state_short_name(state)));
    if task.attempt > 1 {
        text.push_str(&format!(" (attempt {})", task.attempt));
    }
    if !status.node_id.is_empty() && !has_ended(state) {
        text.push_str(&format!(" on {}", nodes.of(&status.node_id)));
    }
    let detail = detail(&status, now);
    if !detail.is_empty() {
        text.push_str(&format!(": {}", detail.replace(['\n', '\r'], " ")));
    }
    text
}

/// Where many tasks are.
fn counts_line(states: impl Iterator<Item = v1::TaskState>, total: usize) -> String {
    let mut counts: BTreeMap<v1::TaskState, usize> = BTreeMap::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    let ended: usize = counts.iter().filter(|(state, _)| has_ended(**state)).map(|(_, count)| count).sum();
    let parts = counts.iter().map(|(state, count)| format!("{count} {}", state_short_name(*state)));
    format!("{ended} of {total} tasks ended: {}", parts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{NOW, failed_task, node, running_task, task};

    fn line(task: &v1::Task) -> String {
        let nodes = [node(1, "one")].iter().collect();
        task_line(task, &nodes, NOW, Palette::new(false))
    }

    #[test]
    fn a_line_says_where_a_task_is_and_why() {
        assert_eq!(line(&running_task()), "000000000001 web  RUNNING on one");
        assert_eq!(line(&failed_task()), "000000000002 batch  FAILED (attempt 2): exit code 3; exited with code 3");
        let mut pending = task(3, "big", v1::TaskState::Pending);
        pending.status.get_or_insert_default().reason = "no node has 8 GiB".to_owned();
        assert_eq!(line(&pending), "000000000003 big  PENDING: no node has 8 GiB");
    }

    #[test]
    fn many_tasks_are_counted() {
        let states = [v1::TaskState::Completed, v1::TaskState::Running, v1::TaskState::Running];
        assert_eq!(counts_line(states.into_iter(), 12), "1 of 12 tasks ended: 2 RUNNING, 1 COMPLETED");
    }
}
