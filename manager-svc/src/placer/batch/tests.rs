use std::time::Duration;

use davit_core::id::TaskId;
use davit_core::restart::RestartMode;
use davit_core::spec::PlacementPolicy;
use davit_core::state::TaskState;

use super::*;
use crate::commands::note_unplaced;
use crate::commands::test_support::{Cluster, of_priority, placed_by, restarting, spec};

fn algorithms() -> Algorithms {
    Algorithms::new(["binpack", "spread"].map(str::to_owned), "spread")
}

fn gather(queue: &mut Queue, cluster: &Cluster) -> Batch {
    queue.gather(&cluster.state, cluster.now, &algorithms(), Budget::default())
}

fn counts(batch: &Batch) -> Vec<usize> {
    batch.groups.iter().map(|group| group.keys.len()).collect()
}

#[test]
fn like_tasks_are_one_group_and_the_most_important_come_first() {
    let mut cluster = Cluster::new(1);
    let (first, _) = (cluster.create(spec()), cluster.create(of_priority(5)));
    let third = cluster.create(spec());
    let batch = gather(&mut Queue::default(), &cluster);
    assert_eq!(counts(&batch), [1, 2]);
    assert_eq!(batch.groups[0].request.priority, 5);
    assert_eq!(batch.groups[1].keys, [cluster.key(first), cluster.key(third)]);
    assert_eq!(batch.groups[1].request.algorithm, "spread", "the default is spelled out");
    assert_eq!(batch.held, []);
}

#[test]
fn a_task_in_back_off_is_not_asked_for_before_its_time() {
    let mut cluster = Cluster::new(1);
    let crashing = cluster.running(restarting(RestartMode::Always), 1);
    cluster.report(1, crashing, TaskState::Failed);
    let mut queue = Queue::default();
    assert_eq!(gather(&mut queue, &cluster), Batch::default());
    cluster.advance(Duration::from_secs(3600));
    assert_eq!(counts(&gather(&mut queue, &cluster)), [1]);
}

#[test]
fn a_gang_is_a_group_of_its_own_with_all_its_members() {
    let mut cluster = Cluster::new(1);
    let alone = cluster.create(spec());
    let (one, other) = (cluster.create_gang(spec(), 3), cluster.create_gang(spec(), 2));
    let batch = gather(&mut Queue::default(), &cluster);
    let of = |members: &[TaskId]| members.iter().map(|id| cluster.key(*id)).collect::<Vec<_>>();
    let keys: Vec<_> = batch.groups.iter().map(|group| group.keys.clone()).collect();
    assert_eq!(keys, [of(&[alone]), of(&one), of(&other)]);
    let gangs: BTreeSet<_> = batch.groups.iter().map(|group| group.gang_id).collect();
    assert_eq!(gangs.len(), 3);
}

#[test]
fn a_task_that_comes_later_is_told_at_once_what_those_like_it_were_told() {
    let mut cluster = Cluster::new(1);
    let first = cluster.create(spec());
    let mut queue = Queue::default();
    let batch = gather(&mut queue, &cluster);
    queue.block(&batch.groups[0], "fits 0 of 1 node: 1 lacks cpu");
    let reasons = [(cluster.key(first), "fits 0 of 1 node: 1 lacks cpu".to_owned())];
    cluster.run(|draft| note_unplaced(draft, &reasons));

    let second = cluster.create(spec());
    let batch = gather(&mut queue, &cluster);
    assert_eq!(batch.groups, [], "no node has changed");
    assert_eq!(batch.held, [(cluster.key(second), "fits 0 of 1 node: 1 lacks cpu".to_owned())]);
    cluster.run(|draft| note_unplaced(draft, &batch.held));
    assert_eq!(gather(&mut queue, &cluster), Batch::default(), "nobody is told twice");

    queue.unblock();
    assert_eq!(counts(&gather(&mut queue, &cluster)), [2]);
}

#[test]
fn a_task_whose_algorithm_the_scheduler_does_not_have_is_held_with_what_it_has() {
    let mut cluster = Cluster::new(1);
    let policy = |name: &str| PlacementPolicy { algorithm: name.to_owned(), ..PlacementPolicy::default() };
    let (wrong, _) = (cluster.create(placed_by(policy("best"))), cluster.create(placed_by(policy("binpack"))));
    let batch = gather(&mut Queue::default(), &cluster);
    assert_eq!(counts(&batch), [1]);
    let told = "there is no algorithm `best`: use binpack or spread".to_owned();
    assert_eq!(batch.held, [(cluster.key(wrong), told)]);
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
    let gather = |budget| Queue::default().gather(&cluster.state, cluster.now, &algorithms(), budget).groups.len();
    assert_eq!(gather(Budget::default()), 50);
    assert!((1..10).contains(&gather(small)), "{}", gather(small));
}
