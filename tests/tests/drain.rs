//! Draining nodes of a running cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::TaskState;
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;

const LIMIT: Duration = Duration::from_secs(20);

fn drain_of(node: &v1::Node) -> v1::NodeDrain {
    node.drain.clone().expect("the node is drained")
}

/// Waits until a node has no task any more.
async fn drained(cluster: &Cluster, node: &str) -> v1::NodeDrain {
    eventually("the node is drained", LIMIT, async || {
        let drain = drain_of(&cluster.get_node(node).await);
        if drain.state() == v1::DrainState::Drained { Ok(drain) } else { Err(drain) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tasks_of_a_drained_node_run_elsewhere() {
    let cluster = Cluster::builder().workers(3).start().await;
    let tasks = cluster.create_tasks(30, &[]).await;
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    let before = cluster.get_node("worker-0").await;
    assert!(before.task_count >= 5, "{before:?}");
    let began = cluster.drain_node("worker-0", 2, None).await;
    assert!(began.cordoned);
    let drain = drained(&cluster, "worker-0").await;
    assert_eq!((drain.forced_count, drain.stuck_count, drain.waiting_count), (0, 0, 0));
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    let after = cluster.list_tasks().await;
    assert!(after.iter().all(|task| task.status.as_ref().is_some_and(|status| status.node_id != before.node_id)));
    let moved = after.iter().filter(|task| task.attempt == 2).count();
    assert_eq!(moved, before.task_count as usize, "only its own tasks moved");
    let drain = eventually("all are counted", LIMIT, async || {
        let drain = drain_of(&cluster.get_node("worker-0").await);
        if drain.moving_count == 0 { Ok(drain) } else { Err(drain) }
    })
    .await;
    assert_eq!(drain.moved_count, u64::from(before.task_count));
    assert!(cluster.get_node("worker-0").await.cordoned);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_nowhere_runs_on_until_there_is_room_or_the_deadline_passes() {
    let cluster = Cluster::builder().workers(2).cores(1).start().await;
    let mut spec = cluster.fake_spec(&[]);
    let reservation = Some(v1::Resources { cpu_millis: 1000, ..Default::default() });
    spec.resources = Some(v1::ResourceRequirements { reservation, limit: None });
    let tasks = cluster.create_many(2, spec.clone()).await;
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    cluster.drain_node("worker-0", 0, None).await;
    let drain = eventually("it is told why", LIMIT, async || {
        let drain = drain_of(&cluster.get_node("worker-0").await);
        if drain.stuck_count == 1 { Ok(drain) } else { Err(drain) }
    })
    .await;
    let stuck = &drain.stuck_tasks[0];
    assert!(stuck.reason.contains("fits 0 of 2 nodes"), "{stuck:?}");
    assert_eq!(cluster.get_task(&stuck.task_id).await.attempt, 1, "it was not stopped in vain");

    // Room elsewhere frees it.
    let other = tasks.iter().find(|task_id| **task_id != stuck.task_id).expect("the other task");
    cluster.stop_task(other).await;
    drained(&cluster, "worker-0").await;
    cluster.wait_for_state(&stuck.task_id, TaskState::Running).await;

    // The other way round, with a deadline: it is stopped, and waits.
    cluster.uncordon_node("worker-0").await;
    let more = cluster.create(spec).await;
    cluster.wait_for_state(&more, TaskState::Running).await;
    cluster.drain_node("worker-0", 0, Some(Duration::from_millis(300))).await;
    let drain = drained(&cluster, "worker-0").await;
    assert_eq!(drain.forced_count, 1);
    cluster.wait_for_state(&more, TaskState::Pending).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_drains_itself_leaves_nothing_behind_and_takes_tasks_again_when_it_is_back() {
    let mut cluster = Cluster::builder().workers(2).drain_on_shutdown(LIMIT).start().await;
    let tasks = cluster.create_tasks(10, &[]).await;
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    cluster.stop_worker(0).await;
    let node = cluster.get_node("worker-0").await;
    assert_eq!((node.task_count, drain_of(&node).source()), (0, v1::DrainSource::Worker), "{node:?}");
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    assert!(cluster.list_tasks().await.iter().all(|task| {
        let lost =
            |past: &v1::TaskAttempt| past.status.as_ref().is_some_and(|status| status.state() == TaskState::Lost);
        !task.past_attempts.iter().any(lost)
    }));
    // Its goodbye may still be on its way; until it is noted, the node looks READY as before.
    eventually("its goodbye is noted", LIMIT, async || match cluster.get_node("worker-0").await.state() {
        v1::NodeState::Down => Ok(()),
        state => Err(state),
    })
    .await;
    cluster.start_worker(0).await;
    let node = cluster.get_node("worker-0").await;
    assert!(!node.cordoned && node.drain.is_none(), "{node:?}");
    // The last one has nobody to go to.
    cluster.kill_worker(0).await;
    cluster.kill_worker(1).await;
    cluster.stop().await;
}
