//! The runs of jobs that `davit up` follows: which, how far they are, and whether they are still waited for. Pure.

use std::collections::BTreeMap;

use davit_proto::v1;

use crate::output::state_of;

/// By the names of their jobs.
#[derive(Debug, Default)]
pub(super) struct Runs(BTreeMap<String, Run>);

#[derive(Debug)]
struct Run {
    /// As it was seen last.
    last: v1::JobRun,
    /// What its first tasks wait for.
    start_after: Vec<String>,
    /// Some task of it was started.
    has_begun: bool,
    /// An image is being pulled for it.
    pulls: bool,
    /// What its first tasks wait for can't come unless somebody does something about it.
    waits_in_vain: bool,
    /// It has ended, or is kept no more.
    is_over: bool,
}

/// What is new of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum News {
    /// It goes on, and is so far.
    GoesOn(v1::JobRun),
    /// It has ended.
    Ended(v1::JobRun),
    /// It was this far, and is kept no more.
    Gone(v1::JobRun),
}

/// Whether runs are waited for that no task was started of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// No: all have begun, or one has failed.
    Over,
    /// For so long as it takes: an image is being pulled, or a run that goes on has to complete first.
    Open,
    /// For a bounded time.
    Bounded,
}

impl Runs {
    /// Begins to follow a job's run, as it is right after the app was applied: the one that this has begun, and one that it wants too and
    /// that an earlier time has begun. Runs of schedules are none of these.
    pub(super) fn follow(&mut self, planned: &v1::PlannedJob, job: &v1::Job) {
        let Some(newest) = job.runs.last() else { return };
        let spec = job.spec.clone().unwrap_or_default();
        let is_wanted = planned.action() != v1::PlannedAction::Remove && spec.schedule.is_none();
        if planned.begins_run || (is_wanted && newest.finish_time.is_none()) {
            let start_after = spec.start_after.into_iter().map(|dependency| dependency.deployment).collect();
            // It is no news yet.
            let last = v1::JobRun { run: newest.run, ..Default::default() };
            let run = Run { last, start_after, has_begun: false, pulls: false, waits_in_vain: false, is_over: false };
            self.0.insert(planned.job.clone(), run);
        }
    }

    /// The jobs whose runs go on, as far as is known.
    pub(super) fn going(&self) -> Vec<String> {
        self.0.iter().filter(|(_, run)| !run.is_over).map(|(job, _)| job.clone()).collect()
    }

    /// Those of them that no task was started of yet.
    pub(super) fn unbegun(&self) -> Vec<String> {
        self.0.iter().filter(|(_, run)| run.is_unbegun()).map(|(job, _)| job.clone()).collect()
    }

    /// The run of a job as it was seen last.
    pub(super) fn last(&self, job: &str) -> Option<&v1::JobRun> {
        self.0.get(job).map(|run| &run.last)
    }

    /// Takes in a job as it is now; `None`: there is none any more. Tells what is new.
    pub(super) fn see(&mut self, name: &str, job: Option<&v1::Job>) -> Option<News> {
        let run = self.0.get_mut(name).filter(|run| !run.is_over)?;
        let seen = job.and_then(|job| job.runs.iter().find(|seen| seen.run == run.last.run));
        let Some(seen) = seen else {
            run.is_over = true;
            return Some(News::Gone(run.last.clone()));
        };
        run.has_begun |= seen.completed_count + seen.failed_count + seen.stopped_count > 0;
        run.is_over = seen.finish_time.is_some();
        run.waits_in_vain = !run.is_over && job.is_some_and(|job| job.waiting_in_vain);
        if run.last == *seen {
            return None;
        }
        run.last = seen.clone();
        Some(if run.is_over { News::Ended(seen.clone()) } else { News::GoesOn(seen.clone()) })
    }

    /// Takes in tasks of its run as they are now.
    pub(super) fn see_tasks(&mut self, job: &str, tasks: &[v1::Task]) {
        let Some(run) = self.0.get_mut(job) else { return };
        run.has_begun |= tasks.iter().any(was_started);
        run.pulls = tasks.iter().any(|task| {
            let pull = task.status.as_ref().and_then(|status| status.pull_progress.as_ref());
            state_of(task) == v1::TaskState::Preparing && pull.is_some()
        });
    }

    /// Whether some run failed or waits in vain, as far as is known.
    pub(super) fn have_failed(&self) -> bool {
        self.0.values().any(|run| run.waits_in_vain || run.last.state() == v1::JobRunState::Failed)
    }

    /// Whether runs are waited for that no task was started of yet.
    pub(super) fn wait(&self) -> Wait {
        let mut unbegun = self.0.values().filter(|run| run.is_unbegun()).peekable();
        if self.have_failed() || unbegun.peek().is_none() {
            return Wait::Over;
        }
        let goes_on = |job: &String| self.0.get(job).is_some_and(|other| !other.is_over);
        if unbegun.any(|run| run.pulls || run.start_after.iter().any(goes_on)) { Wait::Open } else { Wait::Bounded }
    }
}

impl Run {
    fn is_unbegun(&self) -> bool {
        !self.is_over && !self.has_begun
    }
}

/// Whether a task was started once, in this attempt or an earlier one.
fn was_started(task: &v1::Task) -> bool {
    let past = task.past_attempts.iter().filter_map(|attempt| attempt.status.as_ref());
    task.status.iter().chain(past).any(|status| status.start_time.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::task;

    fn planned(job: &str, begins_run: bool) -> v1::PlannedJob {
        let action = if begins_run { v1::PlannedAction::Create } else { v1::PlannedAction::Unchanged };
        v1::PlannedJob { job: job.into(), begins_run, action: action.into(), ..Default::default() }
    }

    fn run(number: u32, state: v1::JobRunState, completed_count: u32) -> v1::JobRun {
        let going = matches!(state, v1::JobRunState::Running | v1::JobRunState::Stopping);
        let finish_time = (!going).then(prost_types::Timestamp::default);
        v1::JobRun {
            run: number,
            state: state.into(),
            completions: 2,
            completed_count,
            finish_time,
            ..Default::default()
        }
    }

    fn job(runs: &[v1::JobRun]) -> v1::Job {
        v1::Job { spec: Some(v1::JobSpec::default()), runs: runs.to_vec(), ..Default::default() }
    }

    fn following(name: &str) -> Runs {
        let mut runs = Runs::default();
        runs.follow(&planned(name, true), &job(&[run(1, v1::JobRunState::Running, 0)]));
        runs
    }

    fn started() -> v1::Task {
        let mut task = task(1, "migrate", v1::TaskState::Running);
        task.status.get_or_insert_default().start_time = Some(prost_types::Timestamp::default());
        task
    }

    #[test]
    fn each_change_of_a_run_is_news_once_and_so_is_its_end() {
        use v1::JobRunState::{Completed, Running};
        let mut runs = following("migrate");
        let mut see = |seen: v1::JobRun| runs.see("migrate", Some(&job(&[seen, run(2, Running, 0)])));
        let (begun, half, done) = (run(1, Running, 0), run(1, Running, 1), run(1, Completed, 2));
        assert_eq!(see(begun.clone()), Some(News::GoesOn(begun.clone())), "also how it was at first");
        assert_eq!(see(begun), None);
        assert_eq!(see(half.clone()), Some(News::GoesOn(half)));
        assert_eq!(see(done.clone()), Some(News::Ended(done.clone())));
        assert_eq!(see(done), None);
        assert!(runs.going().is_empty() && !runs.have_failed());
    }

    #[test]
    fn a_run_that_is_kept_no_more_is_over_and_says_so_once() {
        for left in [None, Some(job(&[run(2, v1::JobRunState::Running, 0)]))] {
            let mut runs = following("migrate");
            assert!(matches!(runs.see("migrate", left.as_ref()), Some(News::Gone(_))));
            assert_eq!(runs.see("migrate", left.as_ref()), None);
            assert_eq!(runs.wait(), Wait::Over);
        }
    }

    #[test]
    fn a_run_of_an_earlier_time_is_followed_while_it_goes_on_and_one_of_a_schedule_is_not() {
        use v1::JobRunState::{Failed, Running};
        let follows = |planned: &v1::PlannedJob, job: &v1::Job| {
            let mut runs = Runs::default();
            runs.follow(planned, job);
            !runs.going().is_empty()
        };
        let before = planned("migrate", false);
        assert!(follows(&before, &job(&[run(1, Failed, 0), run(2, Running, 1)])));
        assert!(!follows(&before, &job(&[run(1, Failed, 0)])));
        assert!(follows(&planned("migrate", true), &job(&[run(1, Failed, 0)])), "it failed at once");
        let mut nightly = job(&[run(1, Running, 0)]);
        nightly.spec.get_or_insert_default().schedule = Some(v1::JobSchedule::default());
        assert!(!follows(&before, &nightly));
        let removed = v1::PlannedJob { action: v1::PlannedAction::Remove.into(), ..before };
        assert!(!follows(&removed, &job(&[run(1, Running, 0)])));
    }

    #[test]
    fn a_run_is_waited_for_until_a_task_of_it_was_started() {
        use v1::JobRunState::Running;
        let mut runs = following("migrate");
        assert_eq!(runs.wait(), Wait::Bounded);
        let mut pulling = task(1, "migrate", v1::TaskState::Preparing);
        pulling.status.get_or_insert_default().pull_progress = Some(v1::PullProgress::default());
        runs.see_tasks("migrate", &[pulling]);
        assert_eq!(runs.wait(), Wait::Open, "a pull takes what it takes");
        runs.see_tasks("migrate", &[task(1, "migrate", v1::TaskState::Pending)]);
        assert_eq!(runs.wait(), Wait::Bounded);
        // It was started, and is to be tried again.
        let failed = v1::TaskAttempt { attempt: 1, status: started().status };
        let again = v1::Task { past_attempts: vec![failed], ..task(1, "migrate", v1::TaskState::Pending) };
        runs.see_tasks("migrate", &[again]);
        assert_eq!(runs.wait(), Wait::Over);
        assert_eq!(runs.going(), ["migrate"], "it goes on all the same");
        let mut runs = following("migrate");
        runs.see("migrate", Some(&job(&[run(1, Running, 1)])));
        assert_eq!(runs.wait(), Wait::Over, "an index completed between two looks");
    }

    #[test]
    fn a_run_that_waits_for_another_is_waited_for_while_that_goes_on_and_no_run_once_one_failed() {
        use v1::JobRunState::{Completed, Failed, Running};
        let with_report = |migration: v1::JobRun| {
            let mut runs = following("migrate");
            let mut report = job(&[run(1, Running, 0)]);
            let after = v1::Dependency { deployment: "migrate".into(), ..Default::default() };
            report.spec.get_or_insert_default().start_after = vec![after];
            runs.follow(&planned("report", true), &report);
            runs.see_tasks("migrate", &[started()]);
            runs.see("migrate", Some(&job(&[migration])));
            assert_eq!(runs.unbegun(), ["report"]);
            runs.wait()
        };
        assert_eq!(with_report(run(1, Running, 0)), Wait::Open);
        assert_eq!(with_report(run(1, Completed, 2)), Wait::Bounded);
        assert_eq!(with_report(run(1, Failed, 0)), Wait::Over);
    }

    #[test]
    fn a_run_that_waits_in_vain_counts_as_failed_until_it_may_begin_all_the_same() {
        let mut runs = following("migrate");
        let waiting = |in_vain| v1::Job { waiting_in_vain: in_vain, ..job(&[run(1, v1::JobRunState::Running, 0)]) };
        runs.see("migrate", Some(&waiting(true)));
        assert!(runs.have_failed() && runs.wait() == Wait::Over);
        runs.see("migrate", Some(&waiting(false)));
        assert!(!runs.have_failed() && runs.wait() == Wait::Bounded);
    }
}
