//! Follows an app that was applied: the rollouts of all its deployments at once, and beside them the runs of its jobs.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use davit_core::words::counted;
use davit_proto::v1;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::runs::{News, Runs, Wait};
use super::screen::{Followed, Screen};
use crate::args::Format;
use crate::client::Manager;
use crate::commands::gone::is_gone;
use crate::commands::{INTERRUPTED, now};
use crate::error::Error;
use crate::output::{KnownNodes, LiveLine, Output, rollout_line, run_line};
use crate::rollout::follow;

/// The exit code of who followed what failed.
const FAILED: u8 = 1;
/// How often runs, and tasks for a terminal, are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The same where each change is a line of its own.
const QUIET_LOOK: Duration = Duration::from_secs(1);
/// So many rollouts are followed at one time.
const AT_ONCE: usize = 64;
/// When all rollouts are done, runs that have begun no task are waited for so long.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// So many tasks of a run are looked at; a run may have a hundred thousand.
const TASKS: u32 = 200;

/// Stays until each rollout has come to its end and, if they went well, each run has begun. The exit code: 0 if all rollouts are
/// complete and no run has failed so far, else that of the worst.
pub(super) async fn follow_all(
    manager: &Manager,
    applied: &v1::ApplyAppResponse,
    output: &Output,
) -> Result<u8, Error> {
    let screen = RefCell::new(Screen::new(output));
    let runs = runs_of(manager, &applied.jobs).await?;
    let mut looks = Looks { manager, output, screen: &screen, runs };
    let followed = async {
        let worst = tokio::select! {
            worst = follow_rollouts(manager, &applied.deployments, &screen, output) => worst?,
            never = looks.go_on() => match never {},
        };
        if worst == 0 {
            looks.until_begun().await?;
        } else {
            looks.look_at_runs().await?;
        }
        looks.leave();
        Ok(worst_of(worst, if looks.runs.have_failed() { FAILED } else { 0 }))
    };
    tokio::select! {
        code = followed => code,
        _ = tokio::signal::ctrl_c() => {
            screen.borrow_mut().freeze();
            output.note(&format!("What was begun of {} goes on; `davit up` shows it again.", applied.app));
            Ok(INTERRUPTED)
        }
    }
}

async fn follow_rollouts(
    manager: &Manager,
    planned: &[v1::PlannedDeployment],
    screen: &RefCell<Screen<'_>>,
    output: &Output,
) -> Result<u8, Error> {
    let line = |message: &v1::WatchRolloutResponse| rollout_line(message, now(), output.message_palette);
    let follow_one = async |planned: &v1::PlannedDeployment| {
        let name = &planned.deployment;
        let of = Followed::Rollout(name.clone());
        let removed = planned.action() == v1::PlannedAction::Remove;
        let told = |message: &v1::WatchRolloutResponse| screen.borrow_mut().show(&of, line(message));
        let version = Some(planned.version).filter(|version| *version > 0);
        match follow(manager, name, version, false, told).await {
            Ok(ended) => {
                let code = if removed && ended.last.deleted { 0 } else { ended.exit_code() };
                screen.borrow_mut().end(&of, &line(&ended.last), code == FAILED);
                Ok(code)
            }
            Err(error) if removed && is_gone(&error) => Ok(0),
            Err(error) => Err(error),
        }
    };
    let mut rest = planned.iter();
    let mut following: FuturesUnordered<_> = rest.by_ref().take(AT_ONCE).map(&follow_one).collect();
    let mut worst = 0;
    while let Some(ended) = following.next().await {
        worst = worst_of(worst, ended?);
        following.extend(rest.next().map(&follow_one));
    }
    Ok(worst)
}

/// A failure outweighs a wait for a promotion.
fn worst_of(one: u8, other: u8) -> u8 {
    let weight = |code: u8| match code {
        0 => 0,
        FAILED => u8::MAX,
        other => other,
    };
    std::cmp::max_by_key(one, other, |code| weight(*code))
}

/// The runs to follow.
async fn runs_of(manager: &Manager, jobs: &[v1::PlannedJob]) -> Result<Runs, Error> {
    let mut runs = Runs::default();
    for planned in jobs {
        match manager.get_job(&planned.job).await {
            Ok(job) => runs.follow(planned, &job),
            // Its time to live has passed, or it was removed.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(runs)
}

/// Looks at runs, and at the tasks of all that is on the screen.
struct Looks<'a, 'o> {
    manager: &'a Manager,
    output: &'o Output,
    screen: &'a RefCell<Screen<'o>>,
    runs: Runs,
}

impl Looks<'_, '_> {
    /// Looks again and again.
    async fn go_on(&mut self) -> Infallible {
        loop {
            // What can't be had now is shown at the next look.
            let _ = self.look_at_runs().await;
            self.look_at_tasks().await;
            tokio::time::sleep(self.period()).await;
        }
    }

    /// Looks until each run has begun, or it is waited no longer for that.
    async fn until_begun(&mut self) -> Result<(), Error> {
        let mut until = Instant::now() + BEGINS_WITHIN;
        loop {
            self.look_at_runs().await?;
            self.look_at_tasks().await;
            match self.runs.wait() {
                Wait::Over => return Ok(()),
                Wait::Open => until = Instant::now() + BEGINS_WITHIN,
                Wait::Bounded if Instant::now() >= until => return Ok(()),
                Wait::Bounded => {}
            }
            tokio::time::sleep(self.period()).await;
        }
    }

    fn period(&self) -> Duration {
        if self.screen.borrow().is_live() { LOOK } else { QUIET_LOOK }
    }

    async fn look_at_runs(&mut self) -> Result<(), Error> {
        for name in self.runs.going() {
            let job = match self.manager.get_job(&name).await {
                Ok(job) => Some(job),
                Err(error) if is_gone(&error) => None,
                Err(error) => return Err(error),
            };
            let Some(news) = self.runs.see(&name, job.as_ref()) else { continue };
            let mut screen = self.screen.borrow_mut();
            match news {
                News::GoesOn(run) => screen.show(&Followed::Run(name.clone()), self.line(&name, &run)),
                News::Ended(run) => {
                    let failed = run.state() == v1::JobRunState::Failed;
                    screen.end(&Followed::Run(name.clone()), &self.line(&name, &run), failed);
                }
                News::Gone(run) => {
                    let text = format!("{name}  run {} is kept no more; how it ended is not known", run.run);
                    screen.end(&Followed::Run(name.clone()), &LiveLine::plain(text), false);
                }
            }
        }
        Ok(())
    }

    async fn look_at_tasks(&mut self) {
        let shown = self.screen.borrow().shown();
        let nodes: KnownNodes = if shown.is_empty() {
            KnownNodes::default()
        } else {
            self.manager.list_nodes().await.unwrap_or_default().iter().collect()
        };
        for of in &shown {
            let found = match of {
                Followed::Rollout(name) => self.tasks_of_deployment(name).await.map(|tasks| (tasks, 0)),
                Followed::Run(name) => self.tasks_of_run(name).await,
            };
            if let Ok((tasks, unlisted)) = found {
                self.screen.borrow_mut().show_tasks(of, &tasks, unlisted, &nodes);
            }
        }
        for name in self.runs.unbegun() {
            if !shown.contains(&Followed::Run(name.clone())) {
                let _ = self.tasks_of_run(&name).await;
            }
        }
    }

    async fn tasks_of_deployment(&self, name: &str) -> Result<Vec<v1::Task>, Error> {
        let filter = v1::TaskFilter { deployment: name.to_owned(), ..Default::default() };
        Ok(self.manager.list_tasks(filter).await?.0)
    }

    /// Those that have not ended, and how many more there are.
    async fn tasks_of_run(&mut self, name: &str) -> Result<(Vec<v1::Task>, usize), Error> {
        use v1::TaskState::{Pending, Preparing, Running, Scheduled, Stopping};
        let Some((number, active)) = self.runs.last(name).map(|run| (run.run, run.active_count as usize)) else {
            return Ok((Vec::new(), 0));
        };
        let states = [Pending, Scheduled, Preparing, Running, Stopping].map(i32::from).to_vec();
        let filter = v1::TaskFilter { job: name.to_owned(), states, ..Default::default() };
        let mut tasks = self.manager.first_tasks(filter, TASKS).await?;
        tasks.retain(|task| task.job.as_ref().is_some_and(|of_run| of_run.run == number));
        self.runs.see_tasks(name, &tasks);
        let unlisted = if tasks.len() < TASKS as usize { 0 } else { active.saturating_sub(tasks.len()) };
        Ok((tasks, unlisted))
    }

    fn line(&self, job: &str, run: &v1::JobRun) -> LiveLine {
        run_line(job, run, self.output.message_palette)
    }

    /// Tells how far the runs are that go on without being followed any more, and how to see what they do.
    fn leave(&self) {
        let going = self.runs.going();
        for name in &going {
            if let Some(run) = self.runs.last(name) {
                self.screen.borrow_mut().end(&Followed::Run(name.clone()), &self.line(name, run), false);
            }
        }
        if self.output.format != Format::Table {
            return;
        }
        match going.as_slice() {
            [] => {}
            [one] => self.output.note(&format!("{one} goes on; `davit job logs -f {one}` shows what it writes.")),
            several => {
                let runs = counted(several.len() as u64, "run", "runs");
                self.output.note(&format!("{runs} go on; `davit job ls` shows how far they are."));
            }
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
