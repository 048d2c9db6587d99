//! Jobs step by step, on a cluster whose worker does as it is told.

mod properties;

use std::time::Duration;

use davit_core::job::{Job, JobSpec, MissedRuns, Overlap, RunState, Schedule};
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::{RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::Task;

use super::trouble_of_job;
use crate::commands::test_support::{Cluster, job_spec, named_job, spec};
use crate::commands::{
    JobError, delete_job, delete_task, pause_job, remove_finished, restart_task, run_job, stop_job_run, stop_task,
};

/// A cluster with a job and three places on its node.
struct Rig {
    cluster: Cluster,
}

impl Rig {
    fn new(spec: JobSpec) -> Self {
        let mut rig = Self { cluster: Cluster::new(1) };
        assert!(rig.cluster.make_job("report", spec));
        rig.settle();
        rig
    }

    fn job(&self) -> &Job {
        self.cluster.state.job_by_name("report").unwrap()
    }

    fn run_state(&self, run: u32) -> RunState {
        self.job().run(run).unwrap().state
    }

    /// Until nothing more is to be done. What was done once is not done again.
    fn settle(&mut self) {
        for _ in 0..50 {
            if !self.cluster.reconcile_jobs() {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.cluster.last_batch);
    }

    fn wait(&mut self, seconds: u64) {
        self.cluster.advance(Duration::from_secs(seconds));
        self.settle();
    }

    /// Its tasks that have not ended: run, index and task.
    fn open(&self) -> Vec<(u32, u32, Task)> {
        let tasks = self.cluster.state.tasks_of_job(self.job().job_id).filter(|(_, task)| !task.is_finished());
        tasks.map(|(at, task)| (at.run, at.index, Task::clone(task))).collect()
    }

    fn indexes(&self) -> Vec<(u32, u32)> {
        self.open().into_iter().map(|(run, index, _)| (run, index)).collect()
    }

    /// The task of an index ends so.
    fn end(&mut self, run: u32, index: u32, state: TaskState) {
        let (_, _, task) = self.open().into_iter().find(|(r, i, _)| (*r, *i) == (run, index)).unwrap();
        if task.status.state == TaskState::Pending {
            assert_eq!(self.cluster.place(task.task_id, 1).committed, 1);
        }
        assert_eq!(self.cluster.report(1, task.task_id, state).applied, 1);
        self.settle();
    }
}

/// Tasks of which many fit on the node.
fn small() -> TaskSpec {
    let mut small = spec();
    small.resources.reservation.cpu_millis = 1;
    small
}

fn schedule(cron: &str, overlap: Overlap) -> Schedule {
    Schedule { times: cron.parse().unwrap(), overlap, start_deadline: None, missed_runs: MissedRuns::RunOnce }
}

/// Every full minute; a cluster begins at second 40 of one.
fn each_minute(overlap: Overlap) -> JobSpec {
    JobSpec { schedule: Some(schedule("* * * * *", overlap)), ..job_spec(small(), 1) }
}

#[test]
fn each_index_has_one_task_and_no_more_at_once_than_asked_for() {
    let mut rig = Rig::new(JobSpec { parallelism: 2, ..job_spec(small(), 4) });
    assert_eq!(rig.indexes(), [(1, 0), (1, 1)]);
    rig.end(1, 1, TaskState::Completed);
    assert_eq!(rig.indexes(), [(1, 0), (1, 2)]);
    rig.end(1, 0, TaskState::Completed);
    rig.end(1, 2, TaskState::Completed);
    assert_eq!(rig.run_state(1), RunState::Running);
    rig.end(1, 3, TaskState::Completed);
    assert_eq!((rig.run_state(1), rig.indexes()), (RunState::Completed, vec![]));
    assert_eq!(rig.job().runs[0].completed.ranges().collect::<Vec<_>>(), [(0, 3)]);
    rig.wait(100_000);
    assert_eq!(rig.job().runs.len(), 1);
}

#[test]
fn what_completed_is_known_when_its_tasks_are_long_gone() {
    let mut rig = Rig::new(JobSpec { parallelism: 1, ..job_spec(small(), 2) });
    let task_id = rig.open()[0].2.task_id;
    rig.cluster.place(task_id, 1);
    rig.cluster.report(1, task_id, TaskState::Completed);
    // It is deleted before anybody looked at the job.
    rig.cluster.run(|draft| remove_finished(draft, 0, Duration::ZERO, 10));
    assert!(rig.cluster.state.task(task_id).is_none());
    rig.cluster.restore();
    rig.settle();
    assert_eq!(rig.indexes(), [(1, 1)]);
    // The same if a user deletes it.
    let task_id = rig.open()[0].2.task_id;
    rig.cluster.place(task_id, 1);
    rig.cluster.report(1, task_id, TaskState::Completed);
    rig.cluster.run(|draft| delete_task(draft, task_id, false)).unwrap();
    rig.settle();
    assert_eq!(rig.run_state(1), RunState::Completed);
}

#[test]
fn an_index_that_has_ended_is_not_restarted() {
    let mut rig = Rig::new(JobSpec { max_failed_indexes: 1, ..job_spec(small(), 2) });
    let task_id = rig.open()[0].2.task_id;
    rig.end(1, 0, TaskState::Completed);
    let refused = rig.cluster.run(|draft| restart_task(draft, task_id)).unwrap_err();
    assert_eq!(refused, JobError::IndexHasEnded { task_id }.into());
    // One that runs may be.
    let task_id = rig.open()[0].2.task_id;
    rig.cluster.run(|draft| restart_task(draft, task_id)).unwrap();
    rig.cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    rig.settle();
    assert!(rig.cluster.run(|draft| restart_task(draft, task_id)).is_err());
    assert_eq!((rig.run_state(1), rig.job().runs[0].stopped.count()), (RunState::Failed, 1));
}

#[test]
fn a_run_fails_with_too_many_indexes_and_says_which_and_stops_the_others() {
    let mut rig = Rig::new(JobSpec { max_failed_indexes: 1, ..job_spec(small(), 4) });
    rig.end(1, 2, TaskState::Failed);
    assert_eq!(rig.run_state(1), RunState::Running);
    assert!(trouble_of_job(rig.job()).starts_with("1 of 4 indexes failed; index 2 on node-1: "), "{:?}", rig.job());
    let running = rig.open()[0].2.task_id;
    rig.cluster.place(running, 1);
    rig.end(1, 1, TaskState::Failed);
    // The one that waited ended at once; the one on its node is asked to.
    assert_eq!((rig.run_state(1), rig.indexes()), (RunState::Failing, vec![(1, 0)]));
    rig.end(1, 0, TaskState::Stopped);
    let run = &rig.job().runs[0];
    assert_eq!((run.state, run.failed.count(), run.stopped.count()), (RunState::Failed, 2, 2));
    assert!(run.reason.starts_with("2 of 4 indexes failed; index 2 on node-1"), "{}", run.reason);
}

#[test]
fn a_run_of_which_some_index_failed_does_not_count_as_completed() {
    let mut rig = Rig::new(JobSpec { max_failed_indexes: 5, ..job_spec(small(), 2) });
    rig.end(1, 0, TaskState::Failed);
    rig.end(1, 1, TaskState::Completed);
    assert_eq!(rig.run_state(1), RunState::Failed);
}

#[test]
fn an_index_is_tried_again_as_its_restart_policy_says() {
    let restart = RestartPolicy { mode: RestartMode::OnFailure, max_attempts: 2, ..RestartPolicy::default() };
    let mut rig = Rig::new(job_spec(TaskSpec { restart, ..small() }, 1));
    rig.end(1, 0, TaskState::Failed);
    assert_eq!((rig.run_state(1), rig.open()[0].2.status.attempt.0), (RunState::Running, 2));
    rig.wait(2);
    rig.end(1, 0, TaskState::Failed);
    assert_eq!(rig.run_state(1), RunState::Failed);
}

#[test]
fn a_run_that_takes_too_long_fails() {
    let mut rig = Rig::new(JobSpec { deadline: Some(Duration::from_secs(60)), ..job_spec(small(), 2) });
    rig.end(1, 0, TaskState::Completed);
    rig.wait(59);
    assert_eq!(rig.run_state(1), RunState::Running);
    rig.wait(1);
    let run = &rig.job().runs[0];
    assert_eq!(
        (run.state, run.reason.as_str()),
        (RunState::Failed, "1 of 2 indexes did not complete within its deadline of 60 s")
    );
}

#[test]
fn indexes_have_their_own_arguments() {
    let arguments = [vec!["--from=0".to_owned()], vec!["--from=50".to_owned(), "-v".to_owned()]].into();
    let rig = Rig::new(JobSpec { arguments, ..job_spec(small(), 2) });
    let commands = rig.open().into_iter().map(|(_, _, task)| match &task.spec.runtime {
        RuntimeSpec::Container(container) => container.command.clone(),
        RuntimeSpec::Process(process) => process.command.clone(),
    });
    assert_eq!(commands.collect::<Vec<_>>(), [vec!["--from=0"], vec!["--from=50", "-v"]]);
}

#[test]
fn a_schedule_begins_a_run_each_time_and_leaves_out_what_would_overlap() {
    let mut rig = Rig::new(each_minute(Overlap::Forbid));
    assert!(rig.job().runs.is_empty());
    rig.wait(20);
    assert_eq!((rig.indexes(), rig.job().runs[0].scheduled_at), (vec![(1, 0)], Some(rig.cluster.now)));
    rig.wait(60);
    let missed = rig.job().missed.clone().unwrap();
    assert_eq!((rig.job().runs.len(), missed.reason.as_str(), missed.count), (1, "run 1 goes on", 1));
    rig.end(1, 0, TaskState::Completed);
    rig.wait(59);
    assert_eq!(rig.job().runs.len(), 1);
    rig.wait(1);
    assert_eq!(rig.indexes(), [(2, 0)]);
}

#[test]
fn runs_may_overlap_or_replace_each_other() {
    let mut rig = Rig::new(each_minute(Overlap::Allow));
    rig.wait(20);
    rig.wait(60);
    assert_eq!(rig.indexes(), [(1, 0), (2, 0)]);

    let mut rig = Rig::new(each_minute(Overlap::Replace));
    rig.wait(20);
    let first = rig.open()[0].2.task_id;
    rig.cluster.place(first, 1);
    rig.wait(60);
    // The second waits until the first has stopped.
    assert_eq!((rig.run_state(1), rig.indexes()), (RunState::Stopping, vec![(1, 0)]));
    rig.end(1, 0, TaskState::Stopped);
    assert_eq!((rig.run_state(1), rig.indexes()), (RunState::Stopped, vec![(2, 0)]));
}

#[test]
fn a_run_may_begin_later_but_not_too_late() {
    let mut spec = each_minute(Overlap::Forbid);
    let schedule = spec.schedule.as_mut().unwrap();
    schedule.start_deadline = Some(Duration::from_secs(30));
    // Though it would be missed if nobody had seen it.
    schedule.missed_runs = MissedRuns::Skip;
    let mut rig = Rig::new(spec);
    rig.wait(20);
    rig.wait(60);
    rig.wait(25);
    assert_eq!((rig.indexes(), rig.job().missed.clone()), (vec![(1, 0)], None));
    rig.end(1, 0, TaskState::Completed);
    assert_eq!(rig.indexes(), [(2, 0)]);
    rig.wait(35);
    rig.wait(31);
    let missed = rig.job().missed.clone().unwrap();
    assert_eq!(missed.reason, "it could not begin within 30 s; run 2 goes on");
}

#[test]
fn a_run_that_could_not_replace_another_in_time_is_left_out_as_soon_as_that_is_so() {
    let mut spec = each_minute(Overlap::Replace);
    spec.schedule.as_mut().unwrap().start_deadline = Some(Duration::from_secs(10));
    let mut rig = Rig::new(spec);
    rig.wait(20);
    let first = rig.open()[0].2.task_id;
    rig.cluster.place(first, 1);
    rig.wait(60);
    assert_eq!((rig.run_state(1), rig.job().missed.clone()), (RunState::Stopping, None));
    rig.wait(11);
    let missed = rig.job().missed.clone().unwrap();
    assert_eq!(missed.reason, "it could not begin within 10 s; run 1 goes on");
    rig.end(1, 0, TaskState::Stopped);
    assert_eq!((rig.run_state(1), rig.job().runs.len()), (RunState::Stopped, 1));
}

#[test]
fn times_that_passed_unseen_make_one_run_or_none() {
    for (missed_runs, runs) in [(MissedRuns::RunOnce, 1), (MissedRuns::Skip, 0)] {
        let mut spec = each_minute(Overlap::Allow);
        spec.schedule.as_mut().unwrap().missed_runs = missed_runs;
        let mut rig = Rig::new(spec);
        rig.wait(3_600);
        assert_eq!(rig.job().runs.len(), runs, "{missed_runs:?}");
        // One that is late is told as all those before it are.
        assert_eq!(rig.job().missed.as_ref().map(|missed| missed.count), (runs == 0).then_some(60));
        rig.wait(20);
        assert_eq!(rig.job().runs.len(), runs + 1, "it goes on with the next time");
    }
}

#[test]
fn a_paused_job_begins_nothing_and_does_not_make_up_for_it() {
    let mut rig = Rig::new(each_minute(Overlap::Allow));
    rig.cluster.run(|draft| pause_job(draft, &named_job("report"), true)).unwrap();
    rig.wait(600);
    assert!(rig.job().runs.is_empty() && rig.job().next_run_at().is_none());
    let refused = rig.cluster.run(|draft| run_job(draft, &named_job("report"), "")).unwrap_err();
    assert_eq!(refused, JobError::IsPaused { name: "report".to_owned() }.into());
    rig.cluster.run(|draft| pause_job(draft, &named_job("report"), false)).unwrap();
    rig.settle();
    assert!(rig.job().runs.is_empty());
    rig.wait(60);
    assert_eq!(rig.job().runs.len(), 1);
    // Runs that go on begin no more tasks.
    let mut rig = Rig::new(JobSpec { parallelism: 1, ..job_spec(small(), 2) });
    rig.cluster.run(|draft| pause_job(draft, &named_job("report"), true)).unwrap();
    rig.end(1, 0, TaskState::Completed);
    assert!(rig.indexes().is_empty());
    rig.cluster.run(|draft| pause_job(draft, &named_job("report"), false)).unwrap();
    rig.settle();
    assert_eq!(rig.indexes(), [(1, 1)]);
}

#[test]
fn a_user_begins_and_stops_runs() {
    let mut rig = Rig::new(job_spec(small(), 1));
    let again = |rig: &mut Rig| rig.cluster.run(|draft| run_job(draft, &named_job("report"), "once")).unwrap().1;
    assert_eq!((again(&mut rig), again(&mut rig)), (2, 2), "the same request begins no other");
    rig.settle();
    assert_eq!(rig.indexes(), [(1, 0), (2, 0)]);
    rig.cluster.run(|draft| stop_job_run(draft, &named_job("report"), Some(1))).unwrap();
    rig.settle();
    assert_eq!((rig.run_state(1), rig.indexes()), (RunState::Stopped, vec![(2, 0)]));
    assert!(rig.cluster.run(|draft| stop_job_run(draft, &named_job("report"), Some(7))).is_err());
}

#[test]
fn only_so_many_ended_runs_are_kept_with_their_tasks() {
    let mut rig = Rig::new(JobSpec { kept_succeeded: 1, ..job_spec(small(), 2) });
    for run in 1..=3 {
        rig.end(run, 0, TaskState::Completed);
        rig.end(run, 1, TaskState::Completed);
        rig.cluster.run(|draft| run_job(draft, &named_job("report"), "")).unwrap();
        rig.settle();
    }
    let kept: Vec<_> = rig.job().runs.iter().map(|run| run.number).collect();
    assert_eq!(kept, [3, 4]);
    assert_eq!(rig.cluster.state.tasks().count(), 4);
}

#[test]
fn a_job_with_a_time_to_live_goes_as_a_whole() {
    let mut rig = Rig::new(JobSpec { time_to_live: Some(Duration::from_secs(100)), ..job_spec(small(), 1) });
    rig.wait(1_000);
    rig.end(1, 0, TaskState::Completed);
    rig.wait(99);
    assert_eq!(rig.job().runs.len(), 1);
    rig.wait(1);
    assert!(rig.cluster.state.job_by_name("report").is_none());
    assert_eq!(rig.cluster.state.tasks().count(), 0);
}

#[test]
fn a_deleted_job_goes_with_the_last_of_its_tasks() {
    let mut rig = Rig::new(job_spec(small(), 2));
    rig.end(1, 0, TaskState::Completed);
    let running = rig.open()[0].2.task_id;
    rig.cluster.place(running, 1);
    rig.cluster.run(|draft| delete_job(draft, &named_job("report"))).unwrap();
    rig.settle();
    assert!(rig.job().is_deleted);
    rig.cluster.report(1, running, TaskState::Stopped);
    rig.settle();
    assert!(rig.cluster.state.job_by_name("report").is_none());
    assert_eq!((rig.cluster.state.tasks().count(), rig.cluster.state.specs().bytes()), (0, 0));
}

#[test]
fn a_run_goes_on_as_it_began_when_its_job_changes() {
    let mut rig = Rig::new(JobSpec { parallelism: 1, ..job_spec(small(), 2) });
    let mut changed = job_spec(small(), 1);
    changed.task = TaskSpec { name: "changed".to_owned(), ..small() }.into();
    assert!(rig.cluster.make_job("report", changed));
    rig.end(1, 0, TaskState::Completed);
    assert_eq!(rig.open()[0].2.spec.name, "web");
    rig.cluster.restore();
    rig.cluster.run(|draft| run_job(draft, &named_job("report"), "")).unwrap();
    rig.settle();
    let names: Vec<_> = rig.open().into_iter().map(|(run, _, task)| (run, task.spec.name.clone())).collect();
    assert_eq!(names, [(1, "web".to_owned()), (2, "changed".to_owned())]);
}
