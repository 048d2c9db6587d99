//! Answers of a scheduler that may say anything, from their bytes to what becomes of a small cluster.
#![expect(clippy::expect_used, reason = "for fuzz targets and tests alone: what is built here works or is a bug")]

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, GangId, TaskId};
use davit_core::resources::{ResourceRequirements, Resources};
use davit_core::spec::{ContainerSpec, PlacementPolicy, Port, PortProtocol, RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_proto::{convert, v1};
use prost::Message as _;
use uuid::Uuid;

use super::algorithms::Algorithms;
use super::answer::{Answer, Resolved, resolve};
use super::batch::Group;
use super::queue::Queue;
use super::work::Budget;
use crate::commands::{
    Limits, NewTasks, Placement, PlacementReport, PreemptionReport, apply_reports, commit_placements, create_tasks,
    register_node,
};
use crate::grpc::fuzzing::cluster::{node_id, now, registration};
use crate::state::{ClusterState, Draft, KeptEvents, KeyedSpec};

/// What the manager itself says around a scheduler's reason, at most, in bytes.
const MAX_AROUND_REASON_BYTES: usize = 256;
/// The gang.
const GANG: GangId = GangId(Uuid::from_u128(9));

/// Like tasks of the cluster.
struct Kind {
    name: &'static str,
    count: u128,
    cpu_millis: u64,
    priority: i32,
    host_port: Option<u16>,
    /// Where they run; `None`: they wait.
    on: Option<usize>,
}

/// Two nodes of 4 cores, the first half full. What waits may preempt others, unless it is a gang.
const KINDS: [Kind; 6] = [
    Kind { name: "low", count: 2, cpu_millis: 1000, priority: -10, host_port: None, on: Some(0) },
    Kind { name: "low-too", count: 1, cpu_millis: 1500, priority: -10, host_port: None, on: Some(1) },
    Kind { name: "equal", count: 1, cpu_millis: 500, priority: 10, host_port: None, on: Some(1) },
    Kind { name: "high", count: 2, cpu_millis: 3000, priority: 10, host_port: None, on: None },
    Kind { name: "port", count: 3, cpu_millis: 100, priority: 0, host_port: Some(8080), on: None },
    Kind { name: "gang", count: 2, cpu_millis: 1500, priority: 0, host_port: None, on: None },
];

struct Cluster {
    state: ClusterState,
    /// What the scheduler is asked: the answer is to this.
    groups: Vec<Group>,
}

thread_local! {
    static CLUSTER: OnceCell<Cluster> = const { OnceCell::new() };
}

/// An answer of a placement stream, to all that waits.
///
/// # Panics
/// When it makes the manager put more on a node than fits, take a task's place that is not of lower priority, place a part of
/// a gang, touch what was not asked about, or keep a text of any length.
pub fn answer(bytes: &[u8]) {
    CLUSTER.with(|cluster| commit(cluster.get_or_init(Cluster::new), bytes));
}

/// As [`answer`]. What was done; `None`: it was refused.
fn commit(cluster: &Cluster, bytes: &[u8]) -> Option<(PlacementReport, PreemptionReport)> {
    let response = v1::PlaceResponse::decode(bytes).ok()?;
    let answers: Vec<_> = response.placements.into_iter().map(Answer::from_proto).collect::<Result<_, _>>().ok()?;
    let mut all = Resolved::default();
    for (group, answer) in cluster.groups.iter().zip(&answers) {
        let resolved = resolve(group, answer, &cluster.state, now());
        let placed = resolved.all_placements().map(|placement| placement.key);
        let dealt: Vec<_> = placed.chain(resolved.preemptions.iter().map(|order| order.key)).collect();
        let asked = group.keys(&cluster.state, now()).take(dealt.len());
        assert!(asked.eq(dealt.iter().copied()), "tasks are dealt with once, the longest waiting first");
        all.append(resolved);
    }
    let mut draft = Draft::new(cluster.state.clone(), now());
    let done = all.commit(&mut draft);
    let (state, _) = draft.finish();
    cluster.check(&state, &done);
    Some(done)
}

impl Cluster {
    fn new() -> Self {
        let mut draft = Draft::new(ClusterState::new(KeptEvents::up_to(100)), now());
        for number in 0..2 {
            register_node(&mut draft, registration(number), Duration::from_secs(10)).expect("a node joins");
        }
        for (kind, first) in KINDS.iter().zip((1..).map(|number| number * 0x100)) {
            let task_ids: Vec<_> = (0..kind.count).map(|number| TaskId(Uuid::from_u128(first + number))).collect();
            let gang_id = (kind.name == "gang").then_some(GANG);
            let tasks = NewTasks { spec: KeyedSpec::new(Arc::new(kind.spec())), task_ids: task_ids.clone(), gang_id };
            create_tasks(&mut draft, &[tasks], None, Limits::NONE).expect("tasks are created");
            let Some(node_id) = kind.on.map(node_id) else { continue };
            for task_id in task_ids {
                let key = AttemptKey { task_id, attempt: Attempt::FIRST };
                commit_placements(&mut draft, &[Placement { key, node_id }]);
                let pending = AttemptStatus::pending(key.attempt, "");
                let status = AttemptStatus { state: TaskState::Running, node_id: Some(node_id), ..pending };
                apply_reports(&mut draft, node_id, vec![(task_id, status)]);
            }
        }
        let (state, _) = draft.finish();
        let algorithms = Algorithms::new(["spread".to_owned()], "spread");
        let mut queue = Queue::default();
        queue.follow(&state, now());
        let groups = queue.gather(&state, now(), &algorithms, Budget::default());
        Self { state, groups }
    }

    fn check(&self, after: &ClusterState, (placed, preempted): &(PlacementReport, PreemptionReport)) {
        for node in after.nodes() {
            let reserved = after.usage(node.node_id).reserved;
            assert!(reserved.fits_in(node.description.allocatable), "{} holds {reserved:?}", node.description.name);
        }
        let keys = |group: &Group| group.keys(&self.state, now()).collect::<Vec<_>>();
        let asked: BTreeSet<_> = self.groups.iter().flat_map(keys).collect();
        let (mut scheduled, mut victims, mut of_gang) = (0, 0, BTreeMap::<bool, u32>::new());
        for (before, task) in self.state.tasks().zip(after.tasks()) {
            assert_eq!(before.task_id, task.task_id, "no task comes or goes");
            let longest = convert::MAX_REASON_BYTES + MAX_AROUND_REASON_BYTES;
            assert!(task.status.reason.len() <= longest, "a reason has {} bytes", task.status.reason.len());
            let is_scheduled = task.status.state == TaskState::Scheduled;
            scheduled += usize::from(is_scheduled);
            if task.gang_id().is_some() {
                *of_gang.entry(is_scheduled).or_default() += 1;
            }
            // Also one that the same answer has just placed.
            let is_stopped = before.wants_current_attempt() && !task.wants_current_attempt();
            assert!(
                asked.contains(&before.key()) || is_stopped || before == task,
                "{} was not asked about",
                task.spec.name
            );
            if is_stopped {
                let for_whom = |other: &&AttemptKey| {
                    let other = after.task(other.task_id);
                    other.is_some_and(|other| {
                        let is_there = other.claim.as_ref().map(|claim| claim.node_id) == task.status.node_id;
                        is_there && other.spec.placement.priority > task.spec.placement.priority
                    })
                };
                assert!(
                    preempted.committed.iter().any(|key| for_whom(&key)),
                    "nothing asks to stop {}",
                    task.spec.name
                );
                victims += 1;
            }
        }
        assert!(of_gang.len() < 2, "a part of a gang was placed");
        assert_eq!((scheduled, victims), (placed.committed, preempted.victims));
    }
}

impl Kind {
    fn spec(&self) -> TaskSpec {
        let mut container = ContainerSpec::new("busybox:1".parse().expect("it is an image"));
        let port = |number| Port { container_port: 80, protocol: PortProtocol::Tcp, host_port: Some(number) };
        container.ports.extend(self.host_port.map(port));
        let reservation = Resources { cpu_millis: self.cpu_millis, ..Resources::ZERO };
        let may_preempt = self.on.is_none() && self.name != "gang";
        TaskSpec {
            resources: ResourceRequirements { reservation, limit: Resources::ZERO },
            placement: PlacementPolicy { priority: self.priority, may_preempt, ..PlacementPolicy::default() },
            ..TaskSpec::new(self.name, RuntimeSpec::Container(container))
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::*;

    /// For each group where its tasks go, and which room is made for the others: by what it asks for.
    fn response(answer_to: impl Fn(&str) -> (Vec<(usize, u32)>, Vec<(usize, Vec<u128>)>)) -> Vec<u8> {
        let cluster = Cluster::new();
        let of_group = |group: &Group| {
            let first = group.keys(&cluster.state, now()).next().unwrap();
            let (runs, preemptions) = answer_to(&cluster.state.task(first.task_id).unwrap().spec.name);
            let run = |(node, count)| v1::PlacementRun { node_id: node_id(node).to_string(), count };
            let task_id = |number| TaskId(Uuid::from_u128(number)).to_string();
            let preemption = |(node, victims): (usize, Vec<u128>)| v1::Preemption {
                node_id: node_id(node).to_string(),
                victim_task_ids: victims.into_iter().map(task_id).collect(),
                ..Default::default()
            };
            v1::GroupPlacement {
                runs: runs.into_iter().map(run).collect(),
                preemptions: preemptions.into_iter().map(preemption).collect(),
                unplaced_reason: "fits 0 of 2 nodes: 2 lack cpu".to_owned(),
                ..Default::default()
            }
        };
        let placements = cluster.groups.iter().map(of_group).collect();
        v1::PlaceResponse { batch_id: 1, placements }.encode_to_vec()
    }

    fn placements() -> Vec<u8> {
        response(|name| match name {
            "port" => (vec![(0, 1), (1, 1)], vec![]),
            "gang" => (vec![(0, 1), (1, 1)], vec![]),
            _ => (vec![], vec![]),
        })
    }

    fn preemptions() -> Vec<u8> {
        response(|name| match name {
            "high" => (vec![], vec![(0, vec![0x100, 0x101]), (1, vec![0x200])]),
            _ => (vec![], vec![]),
        })
    }

    #[test]
    fn the_seeds_place_and_preempt_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("scheduler_answer");
        let cluster = Cluster::new();
        let done: Vec<_> = seeds.iter().map(|seed| commit(&cluster, seed).unwrap()).collect();
        assert_eq!(done.iter().map(|(placed, _)| placed.committed).max(), Some(4));
        assert_eq!(done.iter().map(|(_, preempted)| preempted.victims).max(), Some(3));
        for_each_mutation(&seeds, 400, answer);
    }

    #[test]
    #[ignore = "writes fuzz/corpus/scheduler_answer; after a change of the messages"]
    fn the_seeds_are_written() {
        write_seed("scheduler_answer", "placements", &placements());
        write_seed("scheduler_answer", "preemptions", &preemptions());
    }
}
