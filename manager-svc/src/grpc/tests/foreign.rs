//! What a worker is told of attempts that other nodes left.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, NodeId};
use davit_core::node::NodeState;
use davit_core::state::TaskState;
use davit_proto::convert::ForeignAttempt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{Rig, spec};
use crate::commands::{remove_node, set_node_state};
use crate::grpc::foreign::judge;

/// Longer than it takes until what is seen is judged anew.
const A_WHILE: Duration = Duration::from_secs(5);

struct Judged {
    seen: watch::Sender<Vec<ForeignAttempt>>,
    orders: mpsc::Receiver<Vec<ForeignAttempt>>,
    _judging: JoinSet<()>,
}

impl Judged {
    fn new(rig: &Rig, seen: Vec<ForeignAttempt>) -> Self {
        let (seen, seen_there) = watch::channel(seen);
        let (orders_to, orders) = mpsc::channel(1);
        let api = rig.api.clone();
        let mut judging = JoinSet::new();
        judging.spawn(async move { judge(&api, seen_there, orders_to).await });
        Self { seen, orders, _judging: judging }
    }

    /// What is ordered within a while.
    async fn order(&mut self) -> Option<Vec<ForeignAttempt>> {
        tokio::time::timeout(A_WHILE, self.orders.recv()).await.ok().flatten()
    }
}

async fn running(rig: &Rig, node_id: NodeId) -> ForeignAttempt {
    let task_id = rig.create(spec("a")).await.task_id;
    rig.run_on(&task_id, node_id, &[TaskState::Preparing, TaskState::Running]).await;
    let task_id = task_id.parse().unwrap();
    let key = rig.api.writer.state().task(task_id).unwrap().key();
    ForeignAttempt { node_id, key: AttemptKey { ..key }, running: true }
}

#[tokio::test(start_paused = true)]
async fn what_a_removed_node_left_is_ordered_to_be_removed_until_it_is_gone() {
    let rig = Rig::new().await;
    let (alive, _session) = rig.join("alive").await;
    let (gone, _session) = rig.join("gone").await;
    let (kept, left) = (running(&rig, alive).await, running(&rig, gone).await);
    let mut judged = Judged::new(&rig, vec![kept, left]);
    assert_eq!(judged.order().await, None, "both nodes are in touch");

    rig.api.writer.write(move |draft| remove_node(draft, &gone.to_string(), true).map(drop)).await.unwrap();
    assert_eq!(judged.order().await, Some(vec![left]));
    assert_eq!(judged.order().await, Some(vec![left]), "an order may be lost");
    judged.seen.send_replace(vec![kept]);
    while judged.orders.try_recv().is_ok() {}
    assert_eq!(judged.order().await, None);
}

#[tokio::test(start_paused = true)]
async fn nobody_who_waits_for_what_a_worker_sees_keeps_a_version_of_the_cluster() {
    let rig = Rig::new().await;
    let (node_id, _session) = rig.join("one").await;
    let found = running(&rig, node_id).await;
    let (mut of_nothing, mut of_one) = (Judged::new(&rig, Vec::new()), Judged::new(&rig, vec![found]));
    assert_eq!((of_nothing.order().await, of_one.order().await), (None, None));
    let version = Arc::downgrade(&rig.api.writer.state());
    rig.create(spec("b")).await;
    assert!(version.upgrade().is_none(), "it takes as much memory as all tasks that change from then on");
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_has_just_started_orders_nothing() {
    let mut rig = Rig::new().await;
    let settled = watch::Sender::new(false);
    rig.api.settled = settled.subscribe();
    let (node_id, _session) = rig.join("one").await;
    let left = running(&rig, node_id).await;
    let unknown = ForeignAttempt { node_id: NodeId(uuid::Uuid::from_u128(5)), ..left };
    let mut judged = Judged::new(&rig, vec![unknown]);
    assert_eq!(judged.order().await, None, "the node may not have registered yet");
    settled.send_replace(true);
    assert_eq!(judged.order().await, Some(vec![unknown]));
}

#[tokio::test(start_paused = true)]
async fn what_runs_on_a_node_that_is_down_stays_until_its_task_is_lost() {
    let rig = Rig::new().await;
    let (node_id, _session) = rig.join("one").await;
    let found = running(&rig, node_id).await;
    let down = move |draft: &mut crate::state::Draft| {
        set_node_state(draft, node_id, NodeState::Down, "test");
        Ok::<(), std::convert::Infallible>(())
    };
    rig.api.writer.write(down).await.unwrap();
    let mut judged = Judged::new(&rig, vec![found]);
    assert_eq!(judged.order().await, None);
    let lose = |draft: &mut crate::state::Draft| {
        let leases = crate::commands::Leases { duration: Duration::ZERO, silences: std::collections::BTreeMap::new() };
        crate::commands::lose_tasks_of_down_nodes(draft, &leases);
        Ok::<(), std::convert::Infallible>(())
    };
    rig.api.writer.write(lose).await.unwrap();
    assert_eq!(judged.order().await, Some(vec![found]));
}
