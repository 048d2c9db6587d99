//! What is on the screen while an app is followed: where there is a terminal a line for each rollout and each run with its tasks below,
//! a line for each change elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use davit_proto::v1;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use crate::args::Format;
use crate::commands::now;
use crate::output::{KnownNodes, LiveLine, Output, live_tasks};

/// How often spinners turn.
const TICK: Duration = Duration::from_millis(100);
/// So many have lines of their own on a terminal; of others only the end is told.
const LINES: usize = 20;

/// What is followed. A deployment that goes and a job that comes may have the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Followed {
    /// The rollout of the deployment of this name.
    Rollout(String),
    /// A run of the job of this name.
    Run(String),
}

/// One of them on a terminal.
struct Line {
    bar: ProgressBar,
    of_itself: LiveLine,
    of_tasks: Vec<LiveLine>,
}

impl Line {
    fn draw(&self, output: &Output) {
        let lines = [std::slice::from_ref(&self.of_itself), &self.of_tasks].concat();
        self.bar.set_message(output.live_lines(&lines));
    }
}

/// What is on the screen.
pub(super) struct Screen<'a> {
    output: &'a Output,
    bars: Option<MultiProgress>,
    lines: BTreeMap<Followed, Line>,
    told: BTreeMap<Followed, String>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let on_terminal = io::stderr().is_terminal() && output.format == Format::Table;
        let bars = on_terminal.then(MultiProgress::new);
        Self { output, bars, lines: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Whether lines are drawn again and again.
    pub(super) fn is_live(&self) -> bool {
        self.bars.is_some()
    }

    /// Those whose tasks are shown.
    pub(super) fn shown(&self) -> Vec<Followed> {
        self.lines.keys().cloned().collect()
    }

    /// How far one of them is now.
    pub(super) fn show(&mut self, of: &Followed, line: LiveLine) {
        if self.output.format != Format::Table {
            return;
        }
        let Some(bars) = &self.bars else { return self.tell(of, &line) };
        if !self.lines.contains_key(of) && self.lines.len() < LINES {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(TICK);
            self.lines.insert(of.clone(), Line { bar, of_itself: LiveLine::default(), of_tasks: Vec::new() });
        }
        if let Some(shown) = self.lines.get_mut(of) {
            shown.of_itself = line;
            shown.draw(self.output);
        }
    }

    /// Its tasks as they are now; `unlisted` is how many more there are.
    pub(super) fn show_tasks(&mut self, of: &Followed, tasks: &[v1::Task], unlisted: usize, nodes: &KnownNodes) {
        // It may have come to its end meanwhile.
        if let Some(shown) = self.lines.get_mut(of) {
            shown.of_tasks = live_tasks(tasks, unlisted, nodes, now(), self.output.message_palette);
            shown.draw(self.output);
        }
    }

    /// Leaves the last word on one of them. Of what went wrong it is told also who reads the result as a program.
    pub(super) fn end(&mut self, of: &Followed, last: &LiveLine, went_wrong: bool) {
        if let Some(line) = self.lines.remove(of) {
            line.bar.finish_and_clear();
        }
        match (&self.bars, self.output.format) {
            (Some(bars), _) => {
                let _ = bars.println(self.output.last_word(last));
            }
            (None, Format::Table) => self.tell(of, last),
            (None, Format::Json | Format::Yaml) if went_wrong => self.output.note(&last.whole()),
            (None, Format::Json | Format::Yaml) => {}
        }
    }

    /// Leaves all as it was drawn last. Who is interrupted finds it changed: the terminal has shown the key below it, so that nothing
    /// can be cleared or drawn anew in its place.
    pub(super) fn freeze(&mut self) {
        if let Some(bars) = &self.bars {
            bars.set_draw_target(ProgressDrawTarget::hidden());
            if !self.lines.is_empty() {
                self.output.note("");
            }
        }
    }

    fn tell(&mut self, of: &Followed, line: &LiveLine) {
        let line = line.whole();
        // The time that is left is no news.
        let news = line.split(", ").filter(|part| !part.ends_with(" left")).collect::<Vec<_>>().join(", ");
        if self.told.get(of) != Some(&news) {
            self.output.note(&line);
            self.told.insert(of.clone(), news);
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        for line in self.lines.values() {
            line.bar.finish_and_clear();
        }
    }
}
