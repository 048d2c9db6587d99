use std::time::Duration;

use davit_core::id::TaskId;
use davit_core::restart::RestartMode;
use davit_core::spec::PlacementPolicy;
use davit_core::state::TaskState;
use davit_core::task::{AttemptStatus, DesiredState, Task};
use proptest::prelude::*;

use super::*;
use crate::commands::test_support::random::op;
use crate::commands::test_support::{Cluster, of_priority, placed_by, restarting, spec, status};
use crate::commands::{note_unplaced, stop_task};
use crate::state::recent_failures;

const FULL: &str = "fits 0 of 1 node: 1 lacks cpu";

fn algorithms() -> Algorithms {
    Algorithms::new(["binpack", "spread"].map(str::to_owned), "spread")
}

fn gather(queue: &mut Queue, cluster: &Cluster) -> Vec<Group> {
    queue.follow(&cluster.state, cluster.now);
    queue.gather(&cluster.state, cluster.now, &algorithms(), Budget::default())
}

fn to_tell(queue: &mut Queue, cluster: &Cluster) -> Vec<(AttemptKey, String)> {
    queue.next_to_tell(&cluster.state, cluster.now, 1000)
}

fn keys(group: &Group, cluster: &Cluster) -> Vec<AttemptKey> {
    let keys: Vec<_> = group.keys(&cluster.state, cluster.now).collect();
    assert_eq!(keys.len(), group.count());
    keys
}

fn counts(groups: &[Group]) -> Vec<usize> {
    groups.iter().map(Group::count).collect()
}

/// Has all that waits blocked and told.
fn block_all(queue: &mut Queue, cluster: &mut Cluster) {
    let groups = gather(queue, cluster);
    groups.iter().for_each(|group| queue.block(group, FULL));
    let reasons = to_tell(queue, cluster);
    cluster.run(|draft| note_unplaced(draft, &reasons));
    assert_eq!(gather(queue, cluster), []);
    assert_eq!(to_tell(queue, cluster), [], "nobody is told twice");
}

#[test]
fn like_tasks_are_one_group_and_the_most_important_come_first() {
    let mut cluster = Cluster::new(1);
    let (first, _) = (cluster.create(spec()), cluster.create(of_priority(5)));
    let third = cluster.create(spec());
    let mut queue = Queue::default();
    let groups = gather(&mut queue, &cluster);
    assert_eq!(counts(&groups), [1, 2]);
    assert_eq!(groups[0].request.priority, 5);
    assert_eq!(keys(&groups[1], &cluster), [cluster.key(first), cluster.key(third)]);
    assert_eq!(groups[1].request.algorithm, "spread", "the default is spelled out");
    assert_eq!(to_tell(&mut queue, &cluster), []);
}

#[test]
fn a_task_in_back_off_is_not_asked_for_before_its_time() {
    let mut cluster = Cluster::new(1);
    let crashing = cluster.running(restarting(RestartMode::Always), 1);
    cluster.report(1, crashing, TaskState::Failed);
    let mut queue = Queue::default();
    assert_eq!(gather(&mut queue, &cluster), []);
    assert!(!queue.has_due());
    assert_eq!(queue.next_due(), cluster.task(crashing).next_attempt_at);
    cluster.advance(Duration::from_secs(3600));
    assert_eq!(counts(&gather(&mut queue, &cluster)), [1]);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn a_task_that_is_held_and_tried_again_later_is_told_when_its_time_has_come() {
    let mut cluster = Cluster::new(1);
    let crashing = cluster.running(restarting(RestartMode::Always), 1);
    cluster.create(restarting(RestartMode::Always));
    let mut queue = Queue::default();
    block_all(&mut queue, &mut cluster);
    cluster.report(1, crashing, TaskState::Failed);
    assert_eq!((gather(&mut queue, &cluster), to_tell(&mut queue, &cluster)), (vec![], vec![]));
    cluster.advance(Duration::from_secs(3600));
    assert_eq!(gather(&mut queue, &cluster), [], "those like it fit nowhere");
    assert_eq!(to_tell(&mut queue, &cluster), [(cluster.key(crashing), FULL.to_owned())]);
}

#[test]
fn a_gang_is_a_group_of_its_own_with_all_its_members() {
    let mut cluster = Cluster::new(1);
    let alone = cluster.create(spec());
    let (one, other) = (cluster.create_gang(spec(), 3), cluster.create_gang(spec(), 2));
    let groups = gather(&mut Queue::default(), &cluster);
    let of = |members: &[TaskId]| members.iter().map(|id| cluster.key(*id)).collect::<Vec<_>>();
    let found: Vec<_> = groups.iter().map(|group| keys(group, &cluster)).collect();
    assert_eq!(found, [of(&[alone]), of(&one), of(&other)]);
    let gangs: BTreeSet<_> = groups.iter().map(|group| group.gang_id).collect();
    assert_eq!(gangs.len(), 3);
}

#[test]
fn a_gang_that_fits_nowhere_is_asked_for_again_when_it_has_become_smaller() {
    let mut cluster = Cluster::new(1);
    let gang = cluster.create_gang(spec(), 3);
    let mut queue = Queue::default();
    block_all(&mut queue, &mut cluster);
    cluster.run(|draft| stop_task(draft, gang[0])).unwrap();
    assert_eq!(counts(&gather(&mut queue, &cluster)), [2]);
}

#[test]
fn a_task_that_comes_later_is_told_at_once_what_those_like_it_were_told() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec());
    let mut queue = Queue::default();
    block_all(&mut queue, &mut cluster);

    let second = cluster.create(spec());
    assert_eq!(gather(&mut queue, &cluster), [], "no node has changed");
    let reasons = to_tell(&mut queue, &cluster);
    assert_eq!(reasons, [(cluster.key(second), FULL.to_owned())]);
    assert_eq!(to_tell(&mut queue, &cluster), reasons, "as long as it does not say so");
    cluster.run(|draft| note_unplaced(draft, &reasons));
    assert_eq!(gather(&mut queue, &cluster), []);
    assert_eq!(to_tell(&mut queue, &cluster), [], "nobody is told twice");

    queue.unblock(&cluster.state, cluster.now);
    assert_eq!(counts(&gather(&mut queue, &cluster)), [2]);
}

#[test]
fn a_reason_is_told_anew_only_if_it_tells_of_another_cause() {
    let mut cluster = Cluster::new(1);
    let task_ids = [cluster.create(spec()), cluster.create(spec())];
    let mut queue = Queue::default();
    block_all(&mut queue, &mut cluster);
    for (reason, told) in
        [("fits 0 of 9 nodes: 9 lack cpu, 1 is not ready", 0), ("fits 0 of 9 nodes: 9 lack memory", 2)]
    {
        queue.unblock(&cluster.state, cluster.now);
        let groups = gather(&mut queue, &cluster);
        queue.block(&groups[0], reason);
        assert_eq!(to_tell(&mut queue, &cluster).len(), told, "{reason}");
    }
    assert_eq!(cluster.task(task_ids[0]).status.reason, FULL);
}

#[test]
fn no_more_are_told_at_once_than_wanted() {
    let mut cluster = Cluster::new(1);
    for _ in 0..3 {
        for _ in 0..3 {
            cluster.create(spec());
        }
        cluster.create(of_priority(-1));
    }
    let mut queue = Queue::default();
    let groups = gather(&mut queue, &cluster);
    groups.iter().for_each(|group| queue.block(group, FULL));
    let mut portions = Vec::new();
    loop {
        let reasons = queue.next_to_tell(&cluster.state, cluster.now, 5);
        if reasons.is_empty() {
            break;
        }
        portions.push(reasons.len());
        cluster.run(|draft| note_unplaced(draft, &reasons));
        assert_eq!(gather(&mut queue, &cluster), []);
    }
    assert_eq!(portions, [5, 5, 2]);
    assert_eq!(untold(&cluster.state, cluster.now, "no scheduler", 5).len(), 5);
    assert_eq!(untold(&cluster.state, cluster.now, FULL, 5), []);
}

#[test]
fn a_task_whose_algorithm_the_scheduler_does_not_have_is_held_with_what_it_has() {
    let mut cluster = Cluster::new(1);
    let policy = |name: &str| PlacementPolicy { algorithm: name.to_owned(), ..PlacementPolicy::default() };
    let (wrong, _) = (cluster.create(placed_by(policy("best"))), cluster.create(placed_by(policy("binpack"))));
    let mut queue = Queue::default();
    assert_eq!(counts(&gather(&mut queue, &cluster)), [1]);
    let told = "there is no algorithm `best`: use binpack or spread".to_owned();
    assert_eq!(to_tell(&mut queue, &cluster), [(cluster.key(wrong), told)]);
}

#[test]
fn a_batch_asks_for_no_more_than_the_scheduler_can_answer_in_time() {
    let mut cluster = Cluster::new(3);
    for number in 0..50 {
        let mut spec = of_priority(1);
        spec.resources.reservation.memory_bytes = 1 + number;
        cluster.create(spec);
    }
    let mut small = Budget::default();
    for _ in 0..30 {
        small.was_late();
    }
    let gather = |budget| {
        let mut queue = Queue::default();
        queue.follow(&cluster.state, cluster.now);
        queue.gather(&cluster.state, cluster.now, &algorithms(), budget).len()
    };
    assert_eq!(gather(Budget::default()), 50);
    assert!((1..10).contains(&gather(small)), "{}", gather(small));
}

#[test]
fn of_very_many_tasks_that_failed_before_some_are_asked_for_and_nothing_that_comes_after_them() {
    let mut cluster = Cluster::new(1);
    let (crashing, calm) = (restarting(RestartMode::Always), of_priority(-1));
    for _ in 0..150 {
        let task_id = cluster.running(crashing.clone(), 1);
        let failed = AttemptStatus {
            finished_at: Some(cluster.now),
            ..status(cluster.task(task_id).status.attempt, TaskState::Failed)
        };
        cluster.report_status(1, task_id, failed);
    }
    cluster.create(calm);
    cluster.advance(Duration::from_secs(1800));
    let mut queue = Queue::default();
    let groups = gather(&mut queue, &cluster);
    assert_eq!(counts(&groups), [100]);
    assert_eq!(groups[0].request.preferences.recent_failures.len(), 1);
    queue.block(&groups[0], FULL);
    assert_eq!(counts(&gather(&mut queue, &cluster)), [1], "all that are like them are held");
}

/// What is held, and what is to be asked for, from scratch: every task is looked at.
#[derive(Default)]
struct Model {
    like: Vec<PlacementRequest>,
    gangs: BTreeMap<GangId, usize>,
}

type Asked = (PlacementRequest, Option<GangId>, Vec<AttemptKey>);

impl Model {
    fn gather(&mut self, cluster: &Cluster) -> Vec<Asked> {
        let (state, now) = (&cluster.state, cluster.now);
        self.gangs.retain(|gang_id, count| state.waiting_of_gang(*gang_id).count() >= *count);
        let waits = |task: &&Arc<Task>| {
            task.status.state == TaskState::Pending
                && task.desired_state == DesiredState::Running
                && task.claim.is_none()
                && task.next_attempt_at.is_none_or(|at| at <= now)
        };
        let mut waiting: Vec<&Arc<Task>> = state.tasks().filter(waits).collect();
        waiting.sort_by_key(|task| {
            (-task.spec.placement.priority, task.next_attempt_at.unwrap_or_default(), task.task_id)
        });
        let mut asked: Vec<Asked> = Vec::new();
        for task in &waiting {
            let mut request = state.placement_request(task, now);
            request.algorithm = "spread".to_owned();
            if let Some(gang_id) = task.gang_id() {
                let members: Vec<_> = waiting.iter().filter(|other| other.gang_id() == Some(gang_id)).collect();
                request.may_preempt = false;
                request.preferences.recent_failures = recent_failures(members.iter().map(|task| &****task), now);
                if self.gangs.contains_key(&gang_id) {
                    continue;
                }
            } else if self.like.contains(&without_failures(request.clone())) {
                continue;
            }
            match asked.iter_mut().find(|(known, gang_id, _)| (known, *gang_id) == (&request, task.gang_id())) {
                Some((_, _, keys)) => keys.push(task.key()),
                None => asked.push((request, task.gang_id(), vec![task.key()])),
            }
        }
        asked
    }

    fn block(&mut self, (request, gang_id, keys): &Asked) {
        match gang_id {
            Some(gang_id) => drop(self.gangs.insert(*gang_id, keys.len())),
            None => self.like.push(without_failures(request.clone())),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Op(crate::commands::test_support::random::Op),
    /// One of the groups does not fit.
    Block(prop::sample::Index),
    Unblock,
    /// So many are told.
    Tell(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => op().prop_map(Step::Op),
        3 => any::<prop::sample::Index>().prop_map(Step::Block),
        1 => Just(Step::Unblock),
        2 => (1usize..4).prop_map(Step::Tell),
    ]
}

proptest! {
    #[test]
    fn what_is_asked_for_and_in_which_order_is_as_if_every_task_were_looked_at(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (mut cluster, mut queue, mut model) = (Cluster::new(2), Queue::default(), Model::default());
        for step in steps {
            match step {
                Step::Op(op) => drop(cluster.apply(&op)),
                Step::Block(index) => {
                    let (groups, asked) = (gather(&mut queue, &cluster), model.gather(&cluster));
                    if !groups.is_empty() {
                        let at = index.index(groups.len());
                        queue.block(&groups[at], FULL);
                        model.block(&asked[at]);
                    }
                }
                Step::Unblock => {
                    queue.unblock(&cluster.state, cluster.now);
                    model = Model::default();
                }
                Step::Tell(count) => {
                    let reasons = queue.next_to_tell(&cluster.state, cluster.now, count);
                    prop_assert!(reasons.len() <= count);
                    cluster.run(|draft| note_unplaced(draft, &reasons));
                    prop_assert_eq!(cluster.last_batch.changes.len(), reasons.len(), "all of them are news");
                }
            }
            let groups = gather(&mut queue, &cluster);
            let asked: Vec<Asked> =
                groups.iter().map(|group| (group.request.clone(), group.gang_id, keys(group, &cluster))).collect();
            prop_assert_eq!(&asked, &model.gather(&cluster));
        }
        loop {
            let reasons = queue.next_to_tell(&cluster.state, cluster.now, 2);
            if reasons.is_empty() {
                break;
            }
            cluster.run(|draft| note_unplaced(draft, &reasons));
            gather(&mut queue, &cluster);
        }
        let asked: BTreeSet<AttemptKey> = model.gather(&cluster).into_iter().flat_map(|(_, _, keys)| keys).collect();
        for task in cluster.state.placeable(cluster.now).filter(|task| !asked.contains(&task.key())) {
            prop_assert_eq!(cause_hash(&task.status.reason), cause_hash(FULL), "who is held says why");
        }
    }
}
