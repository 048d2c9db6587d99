//! Follows the rollouts of all deployments of an app at once: where there is a terminal a line each, with the state of their tasks,
//! a line for each change elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use davit_proto::v1;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use indicatif::{MultiProgress, ProgressBar};

use crate::args::Format;
use crate::client::Manager;
use crate::commands::gone::is_gone;
use crate::commands::now;
use crate::error::Error;
use crate::output::{KnownNodes, Output, live_tasks, rollout_line};
use crate::rollout::follow;

/// How often spinners turn.
const TICK: Duration = Duration::from_millis(100);
/// So many deployments have a line each on a terminal; of others only the end is told.
const LINES: usize = 20;
/// How often tasks are looked at for a terminal.
const LOOK: Duration = Duration::from_millis(500);
/// So many are followed at one time.
const AT_ONCE: usize = 64;

/// Stays with all of them until each has come to its end. The exit code: 0 if all are complete, else that of the worst.
pub(super) async fn follow_all(
    manager: &Manager,
    planned: &[v1::PlannedDeployment],
    output: &Output,
) -> Result<u8, Error> {
    let shown = RefCell::new(Shown::new(output));
    let follow_one = async |planned: &v1::PlannedDeployment| {
        let name = &planned.deployment;
        let removed = planned.action() == v1::PlannedAction::Remove;
        let told = |message: &v1::WatchRolloutResponse| shown.borrow_mut().show(name, message);
        let version = Some(planned.version).filter(|version| *version > 0);
        let ended = follow(manager, name, version, false, told).await;
        match ended {
            Ok(ended) => {
                shown.borrow_mut().end(name, &ended.last);
                Ok(if removed && ended.last.deleted { 0 } else { ended.exit_code() })
            }
            Err(error) if removed && is_gone(&error) => Ok(0),
            Err(error) => Err(error),
        }
    };
    let mut rest = planned.iter();
    let mut following: FuturesUnordered<_> = rest.by_ref().take(AT_ONCE).map(&follow_one).collect();
    let all = async {
        let mut worst = 0;
        while let Some(ended) = following.next().await {
            worst = worst_of(worst, ended?);
            following.extend(rest.next().map(&follow_one));
        }
        Ok(worst)
    };
    tokio::select! {
        worst = all => worst,
        () = show_tasks(manager, &shown) => Ok(0),
    }
}

/// Shows the tasks of what is on the screen, for as long as it is.
async fn show_tasks(manager: &Manager, shown: &RefCell<Shown<'_>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let names: Vec<String> = shown.borrow().lines.keys().cloned().collect();
        if names.is_empty() {
            continue;
        }
        // What can't be had now is shown at the next look.
        let nodes: KnownNodes = manager.list_nodes().await.unwrap_or_default().iter().collect();
        for name in names {
            let filter = v1::TaskFilter { deployment: name.clone(), ..Default::default() };
            if let Ok((tasks, _)) = manager.list_tasks(filter).await {
                shown.borrow_mut().show_tasks(&name, &tasks, &nodes);
            }
        }
    }
}

/// A failure outweighs a wait for a promotion.
pub(super) fn worst_of(one: u8, other: u8) -> u8 {
    let weight = |code: u8| match code {
        0 => 0,
        1 => u8::MAX,
        other => other,
    };
    std::cmp::max_by_key(one, other, |code| weight(*code))
}

/// One deployment on a terminal.
struct Line {
    bar: ProgressBar,
    rollout: String,
    tasks: String,
}

impl Line {
    fn draw(&self, output: &Output) {
        let gap = if self.tasks.is_empty() { "" } else { "\n" };
        self.bar.set_message(output.live_message(&format!("{}{gap}{}", self.rollout, self.tasks)));
    }
}

/// What is on the screen.
struct Shown<'a> {
    output: &'a Output,
    bars: Option<MultiProgress>,
    lines: BTreeMap<String, Line>,
    told: BTreeMap<String, String>,
}

impl<'a> Shown<'a> {
    fn new(output: &'a Output) -> Self {
        let on_terminal = io::stderr().is_terminal() && output.format == Format::Table;
        let bars = on_terminal.then(MultiProgress::new);
        Self { output, bars, lines: BTreeMap::new(), told: BTreeMap::new() }
    }

    fn show(&mut self, name: &str, message: &v1::WatchRolloutResponse) {
        if self.output.format != Format::Table {
            return;
        }
        let line = rollout_line(message, now(), self.output.message_palette);
        let Some(bars) = &self.bars else { return self.tell(name, &line) };
        if !self.lines.contains_key(name) && self.lines.len() < LINES {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(TICK);
            self.lines.insert(name.to_owned(), Line { bar, rollout: String::new(), tasks: String::new() });
        }
        if let Some(shown) = self.lines.get_mut(name) {
            shown.rollout = line;
            shown.draw(self.output);
        }
    }

    fn show_tasks(&mut self, name: &str, tasks: &[v1::Task], nodes: &KnownNodes) {
        // It may have come to its end meanwhile.
        if let Some(shown) = self.lines.get_mut(name) {
            shown.tasks = live_tasks(tasks, nodes, now(), self.output.message_palette);
            shown.draw(self.output);
        }
    }

    /// Leaves the last word on the screen.
    fn end(&mut self, name: &str, last: &v1::WatchRolloutResponse) {
        if self.output.format != Format::Table {
            return;
        }
        if let Some(line) = self.lines.remove(name) {
            line.bar.finish_and_clear();
        }
        let line = rollout_line(last, now(), self.output.message_palette);
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(self.output.message(&line));
            }
            None => self.tell(name, &line),
        }
    }

    fn tell(&mut self, name: &str, line: &str) {
        // The time that is left is no news.
        let news = line.split(", ").filter(|part| !part.ends_with(" left")).collect::<Vec<_>>().join(", ");
        if self.told.get(name) != Some(&news) {
            self.output.note(line);
            self.told.insert(name.to_owned(), news);
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        for line in self.lines.values() {
            line.bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_all_else() {
        assert_eq!(worst_of(0, 0), 0);
        assert_eq!((worst_of(0, 4), worst_of(4, 0)), (4, 4));
        assert_eq!((worst_of(1, 4), worst_of(4, 1)), (1, 1));
    }
}
