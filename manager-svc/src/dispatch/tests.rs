//! What workers are told, by change, and after any history.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_core::id::{Attempt, Revision, TaskId};
use davit_core::node::NodeState;
use davit_core::restart::RestartMode;
use davit_core::state::TaskState::{Completed, Failed, Lost, Pending, Running, Stopped};
use futures::FutureExt;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::commands::test_support::random::{NODES, op};
use crate::commands::test_support::{Cluster, node_id, restarting, spec};
use crate::commands::{delete_task, restart_task, set_node_state, stop_task};

fn outbox(session: u128) -> Arc<Outbox> {
    Arc::new(Outbox::new(SessionId(Uuid::from_u128(session))))
}

/// What waits in an outbox, if anything does.
fn delivery(outbox: &Outbox) -> Option<Delivery> {
    outbox.next().now_or_never()
}

/// Orders of the last batch.
fn orders(cluster: &Cluster) -> Vec<(NodeId, Order)> {
    let mut orders = Vec::new();
    for change in &cluster.last_batch.changes {
        if let Versions::Task { before, after } = &change.versions {
            orders.extend(orders_of(before.as_deref(), after.as_deref()));
        }
    }
    orders
}

fn is_assign(order: &Order, wanted: DesiredState) -> bool {
    matches!(order, Order::Assign { desired_state, .. } if *desired_state == wanted)
}

fn key(task_id: TaskId, attempt: u32) -> AttemptKey {
    AttemptKey { task_id, attempt: Attempt(attempt) }
}

#[test]
fn a_placement_assigns_a_stop_stops_and_reports_tell_nothing_back() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.create(spec());
    assert_eq!(orders(&cluster), []);
    cluster.place(task_id, 1);
    let assigned = orders(&cluster);
    assert!(matches!(&assigned[..], [(node, order)] if *node == node_id(1) && is_assign(order, DesiredState::Running)));
    cluster.report(1, task_id, Running);
    assert_eq!(orders(&cluster), []);
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    assert!(matches!(&orders(&cluster)[..], [(_, order)] if is_assign(order, DesiredState::Stopped)));
    cluster.report(1, task_id, Stopped);
    assert_eq!(orders(&cluster), [], "its worker said so, it knows");
}

#[test]
fn a_restart_stops_the_attempt_that_runs() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.running(spec(), 1);
    cluster.run(|draft| restart_task(draft, task_id)).unwrap();
    assert!(matches!(&orders(&cluster)[..], [(_, order)] if is_assign(order, DesiredState::Stopped)));
}

#[test]
fn a_lost_attempt_is_removed_at_its_node() {
    for stopping in [false, true] {
        let mut cluster = Cluster::new(1);
        let task_id = cluster.running(spec(), 1);
        if stopping {
            cluster.run(|draft| stop_task(draft, task_id)).unwrap();
        }
        cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Down, "silent"));
        cluster.lose_tasks_of_down_nodes();
        let expected = if stopping { (1, Lost) } else { (2, Pending) };
        assert_eq!(cluster.task_state(task_id), expected);
        assert_eq!(orders(&cluster), [(node_id(1), Order::Remove(key(task_id, 1)))]);
    }
}

#[test]
fn an_attempt_that_is_remembered_no_more_is_removed_at_its_node() {
    let mut cluster = Cluster::new(1);
    let task_id = cluster.create(restarting(RestartMode::Always));
    let mut removed = Vec::new();
    for _ in 0..8 {
        cluster.advance(Duration::from_secs(3_600));
        cluster.place(task_id, 1);
        cluster.report(1, task_id, Running);
        cluster.report(1, task_id, Failed);
        removed.extend(orders(&cluster).into_iter().filter(|(_, order)| matches!(order, Order::Remove(_))));
    }
    assert_eq!(removed, [1, 2, 3].map(|attempt| (node_id(1), Order::Remove(key(task_id, attempt)))));
}

#[test]
fn a_deletion_removes_on_all_nodes_of_past_attempts() {
    let mut cluster = Cluster::new(3);
    let task_id = cluster.running(restarting(RestartMode::OnFailure), 1);
    for node in [2, 3] {
        cluster.report(node - 1, task_id, Failed);
        cluster.advance(Duration::from_secs(10));
        cluster.place(task_id, node);
        cluster.report(node, task_id, Running);
    }
    cluster.report(3, task_id, Completed);
    cluster.run(|draft| delete_task(draft, task_id, false)).unwrap();
    let expected = [1, 2, 3].map(|attempt| (node_id(attempt.into()), Order::Remove(key(task_id, attempt))));
    assert_eq!(orders(&cluster), expected);
}

#[test]
fn a_session_begins_with_everything_that_its_node_should_have() {
    let mut cluster = Cluster::new(2);
    let running = cluster.running(spec(), 1);
    let stopping = cluster.running(spec(), 1);
    cluster.run(|draft| stop_task(draft, stopping)).unwrap();
    cluster.running(spec(), 2);
    let ended = cluster.running(spec(), 1);
    cluster.report(1, ended, Completed);

    let (mut router, session) = (Router::default(), outbox(1));
    router.attach(node_id(1), Arc::clone(&session), &cluster.state);
    let Some(Delivery::FullSet(orders, revision)) = delivery(&session) else { panic!("no full set") };
    assert_eq!(revision, cluster.state.revision());
    let told: Vec<_> =
        orders.iter().map(|order| (order.key().task_id, is_assign(order, DesiredState::Running))).collect();
    assert_eq!(told, [(running, true), (stopping, false)]);
    assert_eq!(delivery(&session), None);
}

#[test]
fn an_outbox_keeps_only_the_newest_word_on_an_attempt() {
    let mut cluster = Cluster::new(1);
    let (mut router, session) = (Router::default(), outbox(1));
    router.attach(node_id(1), Arc::clone(&session), &cluster.state);
    assert!(matches!(delivery(&session), Some(Delivery::FullSet(orders, _)) if orders.is_empty()));
    let task_id = cluster.create(spec());
    cluster.place(task_id, 1);
    router.route(&cluster.last_batch.changes);
    cluster.run(|draft| stop_task(draft, task_id)).unwrap();
    router.route(&cluster.last_batch.changes);
    let Some(Delivery::Changes(orders, revision)) = delivery(&session) else { panic!("no changes") };
    assert!(matches!(&orders[..], [order] if is_assign(order, DesiredState::Stopped)), "{orders:?}");
    assert_eq!(revision, cluster.state.revision());
    assert_eq!(delivery(&session), None);
}

#[test]
fn a_full_set_takes_the_place_of_changes_that_wait() {
    let session = outbox(1);
    let removed = Order::Remove(key(crate::commands::test_support::task_id(1), 1));
    session.put(removed.clone(), Revision(1));
    session.put_full_set(Vec::new(), Revision(2));
    session.put(removed.clone(), Revision(3));
    assert_eq!(delivery(&session), Some(Delivery::FullSet(Vec::new(), Revision(2))));
    assert_eq!(delivery(&session), Some(Delivery::Changes(vec![removed], Revision(3))));
    assert_eq!(delivery(&session), None);
}

#[test]
fn a_newer_session_closes_the_older_and_survives_its_end() {
    let cluster = Cluster::new(1);
    let (mut router, older, newer) = (Router::default(), outbox(1), outbox(2));
    router.attach(node_id(1), Arc::clone(&older), &cluster.state);
    router.attach(node_id(1), Arc::clone(&newer), &cluster.state);
    assert!(matches!(delivery(&older), Some(Delivery::Close(reason)) if reason.contains("newer session")));
    router.detach(node_id(1), older.session_id());
    assert!(router.outboxes.contains_key(&node_id(1)), "the older one's end is not the newer one's");
    router.detach(node_id(1), newer.session_id());
    assert!(router.outboxes.is_empty());
}

#[test]
fn log_orders_wait_behind_assignments_and_are_bounded() {
    let session = outbox(1);
    let order = |number| LogOrder {
        log_id: Uuid::from_u128(number),
        key: key(crate::commands::test_support::task_id(1), 1),
        tail_lines: None,
        follow: false,
        since: None,
    };
    let accepted = (0..1000).take_while(|number| session.order_logs(order(*number))).count();
    assert_eq!(accepted, 64);
    session.put(Order::Remove(order(0).key), Revision(1));
    assert!(matches!(delivery(&session), Some(Delivery::Changes(..))));
    assert_eq!(delivery(&session), Some(Delivery::Logs(order(0))));
    session.close("test");
    assert!(!session.order_logs(order(1)));
    assert!(matches!(delivery(&session), Some(Delivery::Close(_))));
}

#[tokio::test]
async fn whoever_waits_for_a_delivery_is_woken() {
    let session = outbox(1);
    let waiter = tokio::spawn({
        let session = Arc::clone(&session);
        async move { session.next().await }
    });
    tokio::task::yield_now().await;
    session.close("test");
    assert_eq!(waiter.await.unwrap(), Delivery::Close("test".to_owned()));
}

/// A worker that believes what it is told.
type Believed = BTreeMap<AttemptKey, DesiredState>;

fn hear(believed: &mut Believed, outbox: &Outbox) {
    while let Some(delivery) = delivery(outbox) {
        let orders = match delivery {
            Delivery::FullSet(orders, _) => {
                believed.clear();
                orders
            }
            Delivery::Changes(orders, _) => orders,
            Delivery::Logs(_) | Delivery::Close(_) => Vec::new(),
        };
        for order in orders {
            match order {
                Order::Assign { key, desired_state, .. } => believed.insert(key, desired_state),
                Order::Remove(key) => believed.remove(&key),
            };
        }
    }
}

fn should_have(cluster: &Cluster, node: NodeId) -> Believed {
    let desired = |task: &Task| match task.wants_current_attempt() && task.status.state != TaskState::Stopping {
        true => DesiredState::Running,
        false => DesiredState::Stopped,
    };
    cluster.state.tasks_on(node).map(|task| (task.key(), desired(task))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// However many orders were coalesced before a worker heard any, it ends up with what it should have, and besides that
    /// only with attempts that it ended itself.
    #[test]
    fn a_worker_that_heard_everything_has_what_it_should(
        steps in prop::collection::vec((op(), prop::bool::weighted(0.3), prop::bool::weighted(0.05)), 1..80),
    ) {
        let mut cluster = Cluster::new(2);
        let mut router = Router::default();
        let mut workers: BTreeMap<NodeId, (Arc<Outbox>, Believed)> = BTreeMap::new();
        for (nth, (op, hears, reconnects)) in steps.iter().enumerate() {
            cluster.apply(op);
            router.route(&cluster.last_batch.changes);
            for node in (1..=NODES).map(node_id) {
                if *reconnects || !workers.contains_key(&node) {
                    let session = outbox(nth as u128);
                    router.attach(node, Arc::clone(&session), &cluster.state);
                    let believed = workers.remove(&node).map(|(_, believed)| believed).unwrap_or_default();
                    workers.insert(node, (session, believed));
                }
            }
            if !hears {
                continue;
            }
            for (node, (session, believed)) in &mut workers {
                hear(believed, session);
                for (key, desired) in should_have(&cluster, *node) {
                    prop_assert_eq!(believed.get(&key), Some(&desired), "{} at {}", key, node);
                }
                for key in believed.keys() {
                    let task = cluster.state.task(key.task_id);
                    let lost = task.is_some_and(|task| was_lost(task, *key));
                    let newer = task.is_some_and(|task| task.key() == *key && task.status.state == Pending);
                    prop_assert!(!lost && !newer, "{key} was left over at {node}");
                }
            }
        }
    }
}
