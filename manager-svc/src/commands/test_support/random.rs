//! Random commands, among them stale, foreign, duplicate and over-committing ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::deployment::DeploymentMode;
use davit_core::id::{Attempt, AttemptKey, GangId, TaskId};
use davit_core::job::{JobSpec, MissedRuns, Overlap, Schedule};
use davit_core::node::NodeState;
use davit_core::placement::{Mark, RuntimeKind};
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::{OnNodeLoss, PlacementPolicy, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, Task};
use davit_proto::convert::RuntimeHealth;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Cluster, LEASE, config_name, grouped, job_spec, keyed, labelled, mounting, named, named_job, node_id, of_priority,
    placed_by, publishing, publishing_any, registration, restarting, spec, status, task_id, with_file,
};
use crate::commands::{
    Limits, NewTasks, Placement, PreemptionOrder, advance_drains, apply_reports, commit_placements, commit_preemptions,
    create_tasks, delete_config, delete_deployment, delete_job, delete_task, drain_for_worker, drain_node,
    let_go_of_versions, move_drained, move_task, note_unplaced, pause_job, register_node, remove_finished, remove_node,
    restart_task, roll_back_deployment, run_job, set_cordon, set_node_state, set_runtime_health, set_user_labels,
    settle_claims, stop_job_run, stop_task,
};
use crate::state::Batch;

/// Nodes that random commands are about; not all of them have joined.
pub(crate) const NODES: u64 = 4;

/// An attempt of one of the tasks that were ever created: the current one if `off` is 0, else an earlier or later one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pick {
    task: prop::sample::Index,
    off: i32,
}

/// One random command.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create {
        shape: usize,
        count: u64,
        gang: bool,
    },
    Stop(Pick),
    Restart(Pick),
    Delete(Pick, bool),
    /// `keeps`: what the worker says of each attempt that the manager believes there; `None` drops it.
    Register {
        node: u64,
        name: u64,
        keeps: Vec<Option<TaskState>>,
    },
    NodeState(u64, NodeState),
    /// Whether its engine answers.
    Health(u64, bool),
    LoseTasks,
    Cordon(u64, bool),
    Drain(u64, u32, Option<u64>),
    DrainForWorker(u64),
    /// Moves a task as the drain of the first node is told to.
    MoveDrained(u64, Pick, u64),
    AdvanceDrains,
    RemoveNode(u64, bool),
    Label(u64, u8),
    Place(Vec<(Pick, u64)>),
    /// All that waits, onto one node: more than fits.
    PlaceAll(u64),
    NoteUnplaced(Pick, u8),
    Move(Pick, u64),
    /// Stops some of the tasks on a node, or all that are less important, for one that waits.
    Preempt(Pick, u64, Option<Vec<Pick>>),
    SettleClaims,
    Report {
        node: Option<u64>,
        pick: Pick,
        state: TaskState,
        sequence: u64,
    },
    RemoveFinished(usize, u64),
    /// Creates one of three deployments, or has it want something else.
    Deploy {
        name: u8,
        shape: usize,
        mode: DeploymentMode,
    },
    RollBack(u8),
    DeleteDeployment(u8),
    /// Creates one of three jobs, or has it want something else.
    Job {
        name: u8,
        shape: usize,
        completions: u32,
        parallelism: u32,
        schedule: bool,
    },
    /// What a user may ask of a job: run, pause, resume, stop, delete.
    AskJob(u8, u8),
    /// Creates one of two configs, or has it hold something else.
    PutConfig(u8, u8),
    DeleteConfig(u8),
    LetGoOfVersions,
    /// Does what is due for all deployments and jobs.
    Reconcile,
    Wait(u64),
}

fn pick() -> impl Strategy<Value = Pick> {
    let off = prop_oneof![8 => Just(0), 1 => Just(-1), 1 => Just(1)];
    (any::<prop::sample::Index>(), off).prop_map(|(task, off)| Pick { task, off })
}

fn any_state() -> impl Strategy<Value = TaskState> {
    prop::sample::select(TaskState::ALL.to_vec())
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let node = || 1..=NODES;
    let node_state = prop::sample::select(vec![NodeState::Ready, NodeState::Suspect, NodeState::Down]);
    prop_oneof![
        3 => (0usize..SHAPES, 1u64..4, prop::bool::weighted(0.2))
            .prop_map(|(shape, count, gang)| Op::Create { shape, count, gang }),
        1 => pick().prop_map(Op::Stop),
        1 => pick().prop_map(Op::Restart),
        1 => (pick(), any::<bool>()).prop_map(|(pick, force)| Op::Delete(pick, force)),
        2 => (node(), prop_oneof![9 => Just(0), 1 => node()], prop::collection::vec(prop::option::of(any_state()), 4))
            .prop_map(|(node, other, keeps)| Op::Register { node, name: if other == 0 { node } else { other }, keeps }),
        1 => (node(), node_state).prop_map(|(node, state)| Op::NodeState(node, state)),
        1 => (node(), any::<bool>()).prop_map(|(node, answers)| Op::Health(node, answers)),
        1 => Just(Op::LoseTasks),
        1 => (node(), any::<bool>()).prop_map(|(node, cordoned)| Op::Cordon(node, cordoned)),
        2 => (node(), 1u32..3, prop::option::of(0u64..100))
            .prop_map(|(node, parallel, limit)| Op::Drain(node, parallel, limit)),
        1 => node().prop_map(Op::DrainForWorker),
        3 => (node(), pick(), node()).prop_map(|(from, pick, to)| Op::MoveDrained(from, pick, to)),
        2 => Just(Op::AdvanceDrains),
        1 => (node(), prop::bool::weighted(0.3)).prop_map(|(node, force)| Op::RemoveNode(node, force)),
        1 => (node(), 0u8..3).prop_map(|(node, label)| Op::Label(node, label)),
        3 => prop::collection::vec((pick(), node()), 1..6).prop_map(Op::Place),
        2 => node().prop_map(Op::PlaceAll),
        1 => (pick(), 0u8..3).prop_map(|(pick, reason)| Op::NoteUnplaced(pick, reason)),
        2 => (pick(), node()).prop_map(|(pick, node)| Op::Move(pick, node)),
        2 => (pick(), node(), prop_oneof![4 => Just(None), 1 => prop::collection::vec(pick(), 0..3).prop_map(Some)])
            .prop_map(|(pick, node, victims)| Op::Preempt(pick, node, victims)),
        2 => Just(Op::SettleClaims),
        8 => (prop_oneof![6 => Just(None), 1 => node().prop_map(Some)], pick(), any_state(), 0u64..3)
            .prop_map(|(node, pick, state, sequence)| Op::Report { node, pick, state, sequence }),
        1 => (0usize..6, 0u64..100).prop_map(|(count, age)| Op::RemoveFinished(count, age)),
        1 => (0u8..3, 0usize..SHAPES, mode()).prop_map(|(name, shape, mode)| Op::Deploy { name, shape, mode }),
        1 => (0u8..3).prop_map(Op::RollBack),
        1 => (0u8..3).prop_map(Op::DeleteDeployment),
        1 => (0u8..3, 0usize..SHAPES, 1u32..5, 1u32..3, prop::bool::weighted(0.3)).prop_map(
            |(name, shape, completions, parallelism, schedule)| {
                Op::Job { name, shape, completions, parallelism, schedule }
            }
        ),
        1 => (0u8..3, 0u8..5).prop_map(|(name, what)| Op::AskJob(name, what)),
        1 => (0u8..2, 0u8..3).prop_map(|(name, content)| Op::PutConfig(name, content)),
        1 => (0u8..2).prop_map(Op::DeleteConfig),
        1 => Just(Op::LetGoOfVersions),
        3 => Just(Op::Reconcile),
        1 => (1u64..400).prop_map(Op::Wait),
    ]
}

fn mode() -> impl Strategy<Value = DeploymentMode> {
    let replicated = (0u32..4).prop_map(|replicas| DeploymentMode::Replicated { replicas });
    prop_oneof![3 => replicated, 1 => Just(DeploymentMode::Global)]
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..80)
}

/// How many shapes of tasks there are.
const SHAPES: usize = 22;

fn shape(number: usize) -> TaskSpec {
    let db = Mark::of_label("app", "db");
    match number {
        0 => spec(),
        1 => publishing(80),
        2 => publishing(81),
        3 => restarting(RestartMode::OnFailure),
        4 => restarting(RestartMode::Always),
        5 => TaskSpec { on_node_loss: OnNodeLoss::Wait(Duration::from_secs(60)), ..spec() },
        6 => publishing_any(1),
        7 => publishing_any(3),
        8 => publishing(20_001),
        9 => labelled("app", "db"),
        10 => of_priority(5),
        11 => of_priority(-5),
        12 => placed_by(PlacementPolicy { max_per_node: Some(1), ..PlacementPolicy::default() }),
        13 => placed_by(PlacementPolicy { task_affinities: vec![db], ..PlacementPolicy::default() }),
        14 => placed_by(PlacementPolicy { task_anti_affinities: vec![db], ..PlacementPolicy::default() }),
        15 => TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() },
        16 => with_file("config-0"),
        17 => with_file("config-1"),
        18 => mounting(&["data"]),
        19 => grouped("shop", 200, &["data"]),
        20 => grouped("blog", 100, &[]),
        _ => TaskSpec {
            restart: RestartPolicy { mode: RestartMode::Always, max_attempts: 2, ..RestartPolicy::default() },
            ..spec()
        },
    }
}

/// What is known of a command that ran.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) refused: bool,
    /// What a report said, and of which task as it was then.
    pub(crate) report: Option<(u64, AttemptStatus, Option<Arc<Task>>)>,
}

impl Cluster {
    fn picked(&self, pick: Pick) -> AttemptKey {
        let task_id: TaskId = task_id(1 + pick.task.index(self.created.max(1) as usize) as u64);
        let current = self.state.task(task_id).map_or(1, |task| task.status.attempt.0);
        AttemptKey { task_id, attempt: Attempt(current.saturating_add_signed(pick.off)) }
    }

    fn preemption(&self, key: AttemptKey, node: u64, victims: Option<Vec<Pick>>) -> PreemptionOrder {
        let priority = self.state.task(key.task_id).map(|task| task.spec.placement.priority);
        let less_important = || self.state.placed_tasks(node_id(node), priority, usize::MAX, self.now);
        let victims = match victims {
            Some(picks) => picks.into_iter().map(|pick| self.picked(pick).task_id).collect(),
            None => less_important().into_iter().filter(|task| !task.is_ending).map(|task| task.task_id).collect(),
        };
        PreemptionOrder { key, node_id: node_id(node), victims, unplaced_reason: "all is full".to_owned() }
    }

    /// Runs a random command.
    pub(crate) fn apply(&mut self, op: &Op) -> Ran {
        let mut report = None;
        let refused = match op.clone() {
            Op::Create { shape: number, count, gang } => {
                let task_ids = (0..count).map(|nth| task_id(self.created + 1 + nth)).collect();
                let gang_id = gang.then(|| GangId(Uuid::from_u64_pair(3, self.created)));
                self.created += count;
                let tasks = NewTasks { spec: keyed(self.resolved(shape(number))), task_ids, gang_id };
                let request = Some((format!("request {}", self.created), number as u64));
                self.run(|draft| create_tasks(draft, &[tasks], request, Limits::NONE)).is_err()
            }
            Op::Stop(pick) => {
                let key = self.picked(pick);
                self.run(|draft| stop_task(draft, key.task_id)).is_err()
            }
            Op::Restart(pick) => {
                let key = self.picked(pick);
                self.run(|draft| restart_task(draft, key.task_id)).is_err()
            }
            Op::Delete(pick, force) => {
                let key = self.picked(pick);
                self.run(|draft| delete_task(draft, key.task_id, force)).is_err()
            }
            Op::Register { node, name, keeps } => {
                let mut register = registration(node);
                register.description.name = format!("node-{name}");
                let believed = self.state.tasks_on(node_id(node)).zip(keeps.iter().cycle());
                let held = believed.filter_map(|(task, keep)| keep.map(|state| (task, state)));
                register.attempts =
                    held.map(|(task, state)| (task.task_id, status(task.status.attempt, state))).collect();
                self.run(|draft| register_node(draft, register, LEASE)).is_err()
            }
            Op::NodeState(node, state) => {
                self.run(|draft| set_node_state(draft, node_id(node), state, "so it was said"));
                false
            }
            Op::Health(node, answers) => {
                let (mut runtimes, mut problems) = (BTreeSet::new(), BTreeMap::new());
                if answers {
                    runtimes.insert(RuntimeKind::Docker);
                } else {
                    problems.insert(RuntimeKind::Docker, "hangs".to_owned());
                }
                let health = RuntimeHealth { runtimes, problems };
                self.run(|draft| set_runtime_health(draft, node_id(node), health));
                false
            }
            Op::LoseTasks => {
                self.lose_tasks_of_down_nodes();
                false
            }
            Op::Cordon(node, cordoned) => {
                self.run(|draft| set_cordon(draft, &node_id(node).to_string(), cordoned)).is_err()
            }
            Op::Drain(node, max_parallel, limit) => {
                let limit = limit.map(Duration::from_secs);
                self.run(|draft| drain_node(draft, &node_id(node).to_string(), limit, max_parallel)).is_err()
            }
            Op::DrainForWorker(node) => self.run(|draft| drain_for_worker(draft, node_id(node), 2)).is_err(),
            Op::MoveDrained(from, pick, to) => {
                let key = self.picked(pick);
                self.run(|draft| move_drained(draft, node_id(from), key, node_id(to))).is_err()
            }
            Op::AdvanceDrains => {
                let nothing_runs = self.state.nodes().map(|node| (node.node_id, 0)).collect();
                self.run(|draft| advance_drains(draft, &nothing_runs));
                false
            }
            Op::RemoveNode(node, force) => {
                self.run(|draft| remove_node(draft, &node_id(node).to_string(), force)).is_err()
            }
            Op::Label(node, label) => {
                let labels = BTreeMap::from([("label".to_owned(), label.to_string())]);
                // An etag that is right only by chance.
                let etag = (label == 2).then_some("2");
                self.run(|draft| set_user_labels(draft, &format!("node-{node}"), labels, etag)).is_err()
            }
            Op::Place(picks) => {
                let placements: Vec<Placement> = picks
                    .into_iter()
                    .map(|(pick, node)| Placement { key: self.picked(pick), node_id: node_id(node) })
                    .collect();
                self.run(|draft| commit_placements(draft, &placements)).committed == 0
            }
            Op::PlaceAll(node) => {
                let waiting = self.state.placeable(self.now);
                let placements: Vec<_> =
                    waiting.map(|task| Placement { key: task.key(), node_id: node_id(node) }).collect();
                self.run(|draft| commit_placements(draft, &placements)).committed == 0
            }
            Op::NoteUnplaced(pick, reason) => {
                let key = self.picked(pick);
                self.run(|draft| note_unplaced(draft, &[(key, format!("reason {reason}"))]));
                false
            }
            Op::Move(pick, node) => {
                let key = self.picked(pick);
                let attempt = Some(key.attempt);
                self.run(|draft| move_task(draft, key.task_id, node_id(node), attempt, "so it was asked")).is_err()
            }
            Op::Preempt(pick, node, victims) => {
                let order = self.preemption(self.picked(pick), node, victims);
                self.run(|draft| commit_preemptions(draft, &[order])).committed.is_empty()
            }
            Op::SettleClaims => self.run(settle_claims) == 0,
            Op::Report { node, pick, state, sequence } => {
                let key = self.picked(pick);
                let task = self.state.task(key.task_id).cloned();
                let holder = task.as_ref().and_then(|task| task.status.node_id);
                let holder = (1..=NODES).find(|number| Some(node_id(*number)) == holder);
                let node = node.or(holder).unwrap_or(1);
                let said = AttemptStatus { sequence, finished_at: Some(self.now), ..status(key.attempt, state) };
                report = Some((node, said.clone(), task));
                let reports = vec![(key.task_id, said)];
                self.run(|draft| apply_reports(draft, node_id(node), reports)).applied == 0
            }
            Op::RemoveFinished(count, age) => {
                self.run(|draft| remove_finished(draft, count, Duration::from_secs(age), 2));
                false
            }
            Op::Deploy { name, shape: number, mode } => {
                let spec = self.resolved(shape(number));
                !self.deploy(&format!("deployment-{name}"), spec, mode)
            }
            Op::RollBack(name) => {
                let named = named(&format!("deployment-{name}"));
                self.run(|draft| roll_back_deployment(draft, &named, None, String::new())).is_err()
            }
            Op::DeleteDeployment(name) => {
                let named = named(&format!("deployment-{name}"));
                self.run(|draft| delete_deployment(draft, &named)).is_err()
            }
            Op::Job { name, shape: number, completions, parallelism, schedule } => {
                let mode = match shape(number).restart.mode {
                    RestartMode::Never => RestartMode::Never,
                    RestartMode::OnFailure | RestartMode::Always => RestartMode::OnFailure,
                };
                let restart = RestartPolicy { mode, max_attempts: 2, ..RestartPolicy::default() };
                let task = TaskSpec { restart, ..self.resolved(shape(number)) };
                let schedule = schedule.then(|| Schedule {
                    times: "* * * * *".parse().unwrap(),
                    overlap: Overlap::Replace,
                    start_deadline: None,
                    missed_runs: MissedRuns::RunOnce,
                });
                let spec = JobSpec { parallelism, schedule, kept_succeeded: 1, ..job_spec(task, completions) };
                !self.make_job(&format!("job-{name}"), spec)
            }
            Op::AskJob(name, what) => {
                let named = named_job(&format!("job-{name}"));
                match what {
                    0 => self.run(|draft| run_job(draft, &named, "")).is_err(),
                    1 => self.run(|draft| pause_job(draft, &named, true)).is_err(),
                    2 => self.run(|draft| pause_job(draft, &named, false)).is_err(),
                    3 => self.run(|draft| stop_job_run(draft, &named, None)).is_err(),
                    _ => self.run(|draft| delete_job(draft, &named)).is_err(),
                }
            }
            Op::PutConfig(name, content) => self.put_config(&format!("config-{name}"), &[content]).is_err(),
            Op::DeleteConfig(name) => {
                let name = config_name(&format!("config-{name}"));
                self.run(|draft| delete_config(draft, &name)).is_err()
            }
            Op::LetGoOfVersions => {
                self.run(|draft| let_go_of_versions(draft, 2));
                false
            }
            Op::Reconcile => {
                self.reconcile_deployments();
                let deployments = Arc::clone(&self.last_batch);
                self.reconcile_jobs();
                self.last_batch = Arc::new(Batch {
                    changes: deployments.changes.iter().chain(&self.last_batch.changes).cloned().collect(),
                    compacted: self.last_batch.compacted.or(deployments.compacted),
                    ..Batch::clone(&self.last_batch)
                });
                false
            }
            Op::Wait(seconds) => {
                self.advance(Duration::from_secs(seconds));
                self.last_batch = Arc::default();
                false
            }
        };
        Ran { refused, report }
    }
}
