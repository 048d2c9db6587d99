//! What holds for every run, whatever happens to its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use davit_core::id::Revision;
use davit_core::job::DEFAULT_ON_NODE_LOSS;
use davit_core::node::NodeState;
use davit_core::task::{AttemptStatus, RunIndex};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use super::super::plan_job;
use super::*;
use crate::commands::test_support::{node_id, status};
use crate::commands::{Placement, apply_reports, commit_placements, set_node_state};
use crate::state::{ClusterState, EventType, Object};

/// What happens to a job and its tasks.
#[derive(Debug, Clone)]
enum Happens {
    /// All that waits gets a node.
    Place,
    Ends(Index, TaskState),
    /// What is to stop does.
    Stops,
    StopTask(Index),
    RestartTask(Index),
    DeleteTask(Index, bool),
    Run,
    StopRun(Option<u32>),
    Pause(bool),
    Update(Box<JobSpec>),
    Node(u64, NodeState),
    /// What has ended is deleted.
    Sweep,
    Restore,
    Time(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let node_states = prop_oneof![2 => Just(NodeState::Ready), 1 => Just(NodeState::Down)];
    prop_oneof![
        6 => Just(Happens::Place),
        2 => any::<Index>().prop_map(|at| Happens::Ends(at, TaskState::Running)),
        6 => any::<Index>().prop_map(|at| Happens::Ends(at, TaskState::Completed)),
        3 => any::<Index>().prop_map(|at| Happens::Ends(at, TaskState::Failed)),
        3 => Just(Happens::Stops),
        1 => any::<Index>().prop_map(Happens::StopTask),
        1 => any::<Index>().prop_map(Happens::RestartTask),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(at, force)| Happens::DeleteTask(at, force)),
        1 => Just(Happens::Run),
        1 => prop::option::of(1u32..6).prop_map(Happens::StopRun),
        2 => prop::bool::weighted(0.3).prop_map(Happens::Pause),
        1 => specs().prop_map(|spec| Happens::Update(Box::new(spec))),
        2 => (1u64..=2, node_states).prop_map(|(number, state)| Happens::Node(number, state)),
        1 => Just(Happens::Sweep),
        1 => Just(Happens::Restore),
        4 => (1u64..90).prop_map(Happens::Time),
        1 => Just(Happens::Time(700)),
    ]
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let overlaps = prop_oneof![Just(Overlap::Allow), Just(Overlap::Forbid), Just(Overlap::Replace)];
    let missed_runs = prop_oneof![Just(MissedRuns::RunOnce), Just(MissedRuns::Skip)];
    (overlaps, prop::option::of(1u64..120), missed_runs).prop_map(|(overlap, start_deadline, missed_runs)| Schedule {
        start_deadline: start_deadline.map(Duration::from_secs),
        missed_runs,
        ..schedule("* * * * *", overlap)
    })
}

fn specs() -> impl Strategy<Value = JobSpec> {
    let sizes = (1u32..7, 1u32..4, 0u32..3, 0u32..3);
    let rest = (prop::option::of(60u64..900), prop::option::of(schedules()), 0u32..3, any::<bool>());
    (sizes, rest).prop_map(|((completions, parallelism, retries, max_failed_indexes), rest)| {
        let (deadline, schedule, kept, waits_for_node) = rest;
        let max_attempts = retries + 1;
        let restart = RestartPolicy { mode: RestartMode::OnFailure, max_attempts, ..RestartPolicy::default() };
        let mut task = TaskSpec { restart, ..small() };
        if waits_for_node {
            task.on_node_loss = DEFAULT_ON_NODE_LOSS;
        }
        JobSpec {
            parallelism,
            max_failed_indexes,
            deadline: deadline.map(Duration::from_secs),
            schedule,
            kept_succeeded: kept,
            kept_failed: kept,
            ..job_spec(task, completions)
        }
    })
}

fn report(rig: &mut Rig, task: &Task, state: TaskState) {
    let Some(on) = task.status.node_id.filter(|_| task.status.state.is_on_node()) else { return };
    let sequence = task.status.sequence + 1;
    let reported = AttemptStatus { sequence, ..status(task.status.attempt, state) };
    rig.cluster.run(|draft| apply_reports(draft, on, vec![(task.task_id, reported)]));
}

/// Places what waits, alternately on both nodes.
fn place(rig: &mut Rig) {
    let waiting: Vec<_> = rig.cluster.state.placeable(rig.cluster.now).map(|task| task.key()).collect();
    for (key, nth) in waiting.into_iter().zip(0u64..) {
        let placement = |shift| Placement { key, node_id: node_id(1 + (nth + shift) % 2) };
        if rig.cluster.run(|draft| commit_placements(draft, &[placement(0)])).committed == 0 {
            rig.cluster.run(|draft| commit_placements(draft, &[placement(1)]));
        }
    }
}

/// What is on a node comes to its end; `wanted`: how, if it is to run.
fn end_all(rig: &mut Rig, wanted: Option<TaskState>) {
    for (_, _, task) in rig.open() {
        let end = if task.wants_current_attempt() { wanted } else { Some(TaskState::Stopped) };
        end.into_iter().for_each(|end| report(rig, &task, end));
    }
}

fn happen(rig: &mut Rig, what: &Happens) {
    let job = named_job("report");
    let picked = |rig: &Rig, at: &Index| {
        let tasks: Vec<_> =
            rig.cluster.state.tasks_of_job(rig.job().job_id).map(|(_, task)| Arc::clone(task)).collect();
        (!tasks.is_empty()).then(|| Arc::clone(at.get(&tasks)))
    };
    match what {
        Happens::Place => place(rig),
        Happens::Ends(at, state) => {
            let tasks: Vec<_> = rig.open().into_iter().filter(|(_, _, task)| task.status.state.is_on_node()).collect();
            if !tasks.is_empty() {
                report(rig, &at.get(&tasks).2, *state);
            }
        }
        Happens::Stops => end_all(rig, None),
        Happens::StopTask(at) | Happens::RestartTask(at) | Happens::DeleteTask(at, _) => {
            let Some(task_id) = picked(rig, at).map(|task| task.task_id) else { return };
            match what {
                Happens::StopTask(_) => drop(rig.cluster.run(|draft| stop_task(draft, task_id))),
                Happens::DeleteTask(_, force) => drop(rig.cluster.run(|draft| delete_task(draft, task_id, *force))),
                _ => drop(rig.cluster.run(|draft| restart_task(draft, task_id))),
            }
        }
        Happens::Run => drop(rig.cluster.run(|draft| run_job(draft, &job, ""))),
        Happens::StopRun(number) => drop(rig.cluster.run(|draft| stop_job_run(draft, &job, *number))),
        Happens::Pause(paused) => drop(rig.cluster.run(|draft| pause_job(draft, &job, *paused))),
        Happens::Update(spec) => assert!(rig.cluster.make_job("report", JobSpec::clone(spec))),
        Happens::Node(number, state) => {
            rig.cluster.run(|draft| set_node_state(draft, node_id(*number), *state, "so it was said"));
            rig.cluster.lose_tasks_of_down_nodes();
        }
        Happens::Sweep => rig.cluster.run(|draft| remove_finished(draft, 0, Duration::ZERO, 10)),
        Happens::Restore => rig.cluster.restore(),
        Happens::Time(seconds) => {
            rig.cluster.advance(Duration::from_secs(*seconds));
            rig.cluster.lose_tasks_of_down_nodes();
        }
    }
}

/// What was seen of runs, from events alone: a job's own books may be wrong.
struct Seen {
    until: Revision,
    /// What each run began with.
    specs: BTreeMap<u32, Arc<JobSpec>>,
    ended: BTreeMap<u32, RunState>,
    created: BTreeSet<RunIndex>,
    completed: BTreeSet<RunIndex>,
}

impl Seen {
    fn catch_up(&mut self, state: &ClusterState) -> Result<(), TestCaseError> {
        if state.events().compacted() <= self.until {
            for event in state.events().after(self.until).unwrap() {
                match &event.object {
                    Object::Task(task) if event.event_type != EventType::TaskDeleted => {
                        self.note_task(task, event.event_type == EventType::TaskCreated)?;
                    }
                    Object::Job(job) => self.note_job(job)?,
                    _ => {}
                }
            }
        }
        self.until = state.revision();
        Ok(())
    }

    fn note_task(&mut self, task: &Task, is_new: bool) -> Result<(), TestCaseError> {
        let (_, at) = task.run_index().unwrap();
        if is_new {
            prop_assert!(self.created.insert(at), "{at:?} gets another task");
        }
        if task.status.state == TaskState::Completed {
            self.completed.insert(at);
        }
        let has_ended = task.status.state == TaskState::Completed || !self.completed.contains(&at);
        prop_assert!(has_ended, "{at:?} had completed and is {}", task.status.state);
        Ok(())
    }

    fn note_job(&mut self, job: &Job) -> Result<(), TestCaseError> {
        for run in &job.runs {
            if let Some(ended) = self.ended.get(&run.number) {
                prop_assert_eq!(*ended, run.state, "run {} had ended", run.number);
            } else if run.state.has_ended() {
                self.ended.insert(run.number, run.state);
            }
            if let Some(spec) = run.spec.as_ref().filter(|_| !self.specs.contains_key(&run.number)) {
                let overlaps = spec.schedule.as_ref().is_none_or(|schedule| schedule.overlap == Overlap::Allow);
                let may_begin = run.scheduled_at.is_none() || overlaps || job.active_runs().count() == 1;
                prop_assert!(may_begin, "run {} begins beside others", run.number);
                self.specs.insert(run.number, Arc::clone(spec));
            }
        }
        Ok(())
    }
}

/// Looks at the job until nothing is to be done, and checks what came of it.
fn check(rig: &mut Rig, seen: &mut Seen) -> Result<(), TestCaseError> {
    seen.catch_up(&rig.cluster.state)?;
    let (was_paused, created_before) = (rig.job().is_paused, seen.created.len());
    rig.settle();
    // A second look finds nothing to do.
    let plan = plan_job(&rig.cluster.state, rig.job(), u64::MAX, rig.cluster.now);
    prop_assert!(plan.job.is_none() && plan.steps.is_empty() && !plan.is_gone, "{plan:?}");
    seen.catch_up(&rig.cluster.state)?;
    prop_assert!(!was_paused || seen.created.len() == created_before, "a paused job creates tasks");
    let mut open: BTreeMap<u32, u32> = BTreeMap::new();
    rig.open().into_iter().for_each(|(run, _, _)| *open.entry(run).or_default() += 1);
    for (run, count) in open {
        prop_assert!(!seen.ended.contains_key(&run), "run {run} has ended and {count} of its tasks have not");
        prop_assert!(count <= seen.specs[&run].parallelism, "{count} tasks of run {run} go on");
    }
    for run in &rig.job().runs {
        for index in 0..run.completions {
            let completed = seen.completed.contains(&RunIndex { run: run.number, index });
            prop_assert_eq!(run.completed.contains(index), completed, "index {} of {:?}", index, run);
        }
        let all_completed = run.completed.count() == run.completions;
        prop_assert_eq!(run.state == RunState::Completed, all_completed, "{:?}", run);
        let failed = run.failed.count() + run.stopped.count();
        let may_run = run.state != RunState::Running || failed <= seen.specs[&run.number].max_failed_indexes;
        prop_assert!(may_run, "{failed} indexes failed: {run:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold_whatever_happens_and_every_run_comes_to_its_end(
        spec in specs(),
        all in prop::collection::vec(prop::collection::vec(happens(), 1..4), 1..40),
    ) {
        let mut rig = Rig { cluster: Cluster::new(2) };
        let (specs, ended, created, completed) = Default::default();
        let mut seen = Seen { until: rig.cluster.state.revision(), specs, ended, created, completed };
        assert!(rig.cluster.make_job("report", spec.clone()));
        check(&mut rig, &mut seen)?;
        // Several things may happen before the job is looked at.
        for several in &all {
            for what in several {
                seen.catch_up(&rig.cluster.state)?;
                happen(&mut rig, what);
            }
            check(&mut rig, &mut seen)?;
        }
        // No more runs begin, and all that runs ends.
        for number in 1..=2 {
            happen(&mut rig, &Happens::Node(number, NodeState::Ready));
        }
        happen(&mut rig, &Happens::Update(Box::new(JobSpec { schedule: None, ..spec })));
        happen(&mut rig, &Happens::Pause(false));
        for _ in 0..50 {
            check(&mut rig, &mut seen)?;
            place(&mut rig);
            end_all(&mut rig, Some(TaskState::Completed));
            rig.cluster.advance(Duration::from_secs(30));
        }
        check(&mut rig, &mut seen)?;
        let job = rig.job();
        prop_assert_eq!(job.active_runs().count(), 0, "{:?}", job.runs);
        prop_assert!(rig.open().is_empty());
    }
}
