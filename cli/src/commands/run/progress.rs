//! Shows where tasks are while a person waits: spinners where there is a terminal, lines where there is none.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use davit_proto::v1;
use indicatif::{MultiProgress, ProgressBar};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::commands::now;
use crate::output::{
    KnownNodes, Output, Palette, detail, has_ended, short_id, state_of, state_short_name, task_name, task_tone,
};

/// As many tasks have a line each; more are counted.
const LINES: usize = 8;
const TICK: Duration = Duration::from_millis(100);
/// How often counts are told where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(1);

/// Where tasks are.
pub(in crate::commands) struct Progress {
    output: Output,
    nodes: KnownNodes,
    total: usize,
    bars: MultiProgress,
    on_terminal: bool,
    /// The line of each task, or the one line of all under the empty id.
    lines: HashMap<String, ProgressBar>,
    states: HashMap<String, v1::TaskState>,
    counts: Counts,
    last_line: Option<Instant>,
    said: HashMap<String, String>,
}

impl Progress {
    /// For so many tasks.
    pub(in crate::commands) fn new(total: usize, nodes: KnownNodes, output: &Output) -> Self {
        Self {
            output: *output,
            nodes,
            total,
            bars: MultiProgress::new(),
            on_terminal: io::stderr().is_terminal(),
            lines: HashMap::new(),
            states: HashMap::new(),
            counts: Counts::default(),
            last_line: None,
            said: HashMap::new(),
        }
    }

    /// A task is somewhere else now.
    pub(in crate::commands) fn show(&mut self, task: &v1::Task) {
        let state = state_of(task);
        let before = self.states.insert(task.task_id.clone(), state);
        self.counts.moved(before, state);
        if self.total > LINES {
            return self.show_counts();
        }
        let text = task_line(task, &self.nodes, now(), self.output.message_palette);
        // Pull progress comes often: it moves on a terminal and is not worth a line elsewhere.
        let moved = before != Some(state) || state == v1::TaskState::Pending;
        self.say(task.task_id.clone(), text, moved);
    }

    fn show_counts(&mut self) {
        // A spinner draws at its own pace. Lines would flood a log: they come once a second, and at the end.
        let now = Instant::now();
        let is_due = self.last_line.is_none_or(|last| now.duration_since(last) >= LINE_PERIOD);
        if self.on_terminal || is_due || self.counts.ended() == self.total {
            self.last_line = Some(now);
            self.say(String::new(), self.counts.line(self.total), true);
        }
    }

    /// Takes the spinners away; what was said stays.
    pub(in crate::commands) fn clear(&mut self) {
        for (line, bar) in self.lines.drain() {
            bar.finish_and_clear();
            if let Some(text) = self.said.get(&line).filter(|_| self.total == 1) {
                self.output.note(text);
            }
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
            bar.set_message(self.output.live_message(&text));
            // The states of a single task stay on the screen, above the one it is in.
            let past = self.said.get(&line).filter(|_| worth_a_line && self.total == 1);
            if let Some(past) = past {
                let _ = bars.println(self.output.message(past));
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
fn task_line(task: &v1::Task, nodes: &KnownNodes, now: Timestamp, palette: Palette) -> String {
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

/// How many tasks are in each state.
#[derive(Debug, Default)]
struct Counts(BTreeMap<v1::TaskState, usize>);

impl Counts {
    fn moved(&mut self, before: Option<v1::TaskState>, after: v1::TaskState) {
        if let Some(count) = before.and_then(|before| self.0.get_mut(&before)) {
            *count = count.saturating_sub(1);
        }
        *self.0.entry(after).or_default() += 1;
    }

    fn ended(&self) -> usize {
        self.0.iter().filter(|(state, _)| has_ended(**state)).map(|(_, count)| count).sum()
    }

    fn line(&self, total: usize) -> String {
        let parts = self.0.iter().filter(|(_, count)| **count > 0);
        let parts = parts.map(|(state, count)| format!("{count} {}", state_short_name(*state)));
        format!("{} of {total} tasks ended: {}", self.ended(), parts.collect::<Vec<_>>().join(", "))
    }
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
        assert_eq!(line(&failed_task()), "000000000002 batch  FAILED (attempt 2): exited with code 3");
        let mut pending = task(3, "big", v1::TaskState::Pending);
        pending.status.get_or_insert_default().reason = "no node has 8 GiB".to_owned();
        assert_eq!(line(&pending), "000000000003 big  PENDING: no node has 8 GiB");
    }

    #[test]
    fn many_tasks_are_counted() {
        use v1::TaskState::{Completed, Running, Scheduled};
        let mut counts = Counts::default();
        for (before, after) in [
            (None, Scheduled),
            (None, Running),
            (None, Running),
            (Some(Scheduled), Running),
            (Some(Running), Completed),
        ] {
            counts.moved(before, after);
        }
        assert_eq!(counts.line(12), "1 of 12 tasks ended: 2 RUNNING, 1 COMPLETED");
    }
}
