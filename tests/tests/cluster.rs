//! In-process clusters of real services: everything runs, and goes on running while parts of it break.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::TaskState;
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tasks_run_on_three_workers_and_are_accounted_for() {
    let cluster = Cluster::builder().workers(3).start().await;
    let long = cluster.create_tasks(100, &[]).await;
    let short = cluster.create_tasks(100, &[("fake.run_for_ms", "20")]).await;
    cluster.wait_for_all(&short, TaskState::Completed).await;
    cluster.wait_for_all(&long, TaskState::Running).await;
    let mut per_node: BTreeMap<String, usize> = BTreeMap::new();
    for task in cluster.list_tasks().await {
        assert_eq!(task.attempt, 1, "{task:?}");
        *per_node.entry(task.status.expect("a status").node_id).or_default() += 1;
    }
    assert_eq!(per_node.values().sum::<usize>(), 200);
    assert_eq!(per_node.len(), 3, "{per_node:?}");
    assert_eq!(cluster.running_instances(), 100);
    for node in cluster.list_nodes().await {
        assert!(node.task_count >= 30, "the long ones are spread: {} has {}", node.name, node.task_count);
    }
    for task_id in &long {
        cluster.stop_task(task_id).await;
    }
    cluster.wait_for_all(&long, TaskState::Stopped).await;
    assert_eq!(cluster.running_instances(), 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_killed_worker_are_replaced_within_five_seconds() {
    let mut cluster = Cluster::builder().workers(3).start().await;
    let tasks = cluster.create_tasks(30, &[]).await;
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    let dead = cluster.kill_worker(0).await;
    eventually("replacements run", Duration::from_secs(5), async || {
        let tasks = cluster.list_tasks().await;
        let bad: Vec<_> = tasks
            .into_iter()
            .filter_map(|task| task.status.map(|status| (task.attempt, status)))
            .filter(|(_, status)| status.state() != TaskState::Running || status.node_id == dead)
            .collect();
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    })
    .await;
    let moved = cluster.list_tasks().await.iter().filter(|task| task.attempt == 2).count();
    assert!(moved >= 5, "{moved} tasks moved");
    // The machine lives: its old attempts still run there until its worker is back and learns that they are outdated.
    cluster.start_worker(0).await;
    eventually("the old attempts are stopped", LIMIT, async || match cluster.running_instances() {
        30 => Ok(()),
        other => Err(other),
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_scheduler_tasks_wait_with_that_reason_and_are_placed_when_it_is_back() {
    let mut cluster = Cluster::builder().workers(3).start().await;
    cluster.kill_scheduler().await;
    let tasks = cluster.create_tasks(20, &[]).await;
    for task_id in &tasks {
        eventually("the reason names the scheduler", LIMIT, async || {
            let status = cluster.get_task(task_id).await.status.expect("a status");
            let waits = status.state() == TaskState::Pending && status.reason.contains("no scheduler");
            if waits { Ok(()) } else { Err(status) }
        })
        .await;
    }
    cluster.start_scheduler().await;
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_twenty_times_loses_nothing() {
    let cluster = Cluster::builder().workers(3).heartbeat(Duration::from_secs(3)).start().await;
    let mut tasks = Vec::new();
    for round in 0..20 {
        tasks.extend(cluster.create_tasks(5, &[("fake.run_for_ms", "30")]).await);
        cluster.cut_session(round % 3).await;
    }
    cluster.wait_for_all(&tasks, TaskState::Completed).await;
    let listed = cluster.list_tasks().await;
    assert_eq!(listed.len(), 100);
    for task in &listed {
        assert_eq!(task.attempt, 1, "a cut stream is no reason to run a task again: {task:?}");
    }
    // What ran is what was asked for, once each.
    assert_eq!(cluster.started_instances(), 100);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_task_is_restarted_with_growing_waits_until_its_attempts_are_used() {
    let cluster = Cluster::builder().workers(1).start().await;
    let mut spec = cluster.fake_spec(&[("fake.run_for_ms", "1"), ("fake.exit_code", "3")]);
    spec.restart_policy = Some(v1::RestartPolicy {
        mode: v1::RestartMode::OnFailure.into(),
        max_attempts: 4,
        initial_delay: Some(davit_proto::convert::duration_to_proto(Duration::from_millis(100))),
        ..Default::default()
    });
    let task_id = cluster.create(spec).await;
    let task = eventually("it gives up", LIMIT, async || {
        let task = cluster.get_task(&task_id).await;
        let ended = task.attempt == 4 && task.status.as_ref().is_some_and(|s| s.state() == TaskState::Failed);
        if ended { Ok(task) } else { Err(task.status) }
    })
    .await;
    assert_eq!(task.past_attempts.len(), 3);
    for past in &task.past_attempts {
        assert_eq!(past.status.as_ref().and_then(|status| status.exit_code), Some(3), "{past:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fits_nowhere_says_why_and_runs_once_it_fits() {
    let cluster = Cluster::builder().workers(2).start().await;
    let mut spec = cluster.fake_spec(&[]);
    spec.constraints = vec!["disk == ssd".to_owned()];
    let task_id = cluster.create(spec).await;
    eventually("the reason counts the nodes", LIMIT, async || {
        let status = cluster.get_task(&task_id).await.status.expect("a status");
        if status.reason.contains("fits 0 of 2 nodes") { Ok(()) } else { Err(status.reason) }
    })
    .await;
    cluster.label_node("worker-1", &[("disk", "ssd")]).await;
    cluster.wait_for_state(&task_id, TaskState::Running).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_worker_goes_on_with_its_instances() {
    let mut cluster = Cluster::builder().workers(1).heartbeat(Duration::from_secs(5)).start().await;
    let tasks = cluster.create_tasks(5, &[]).await;
    cluster.wait_for_all(&tasks, TaskState::Running).await;
    cluster.kill_worker(0).await;
    cluster.start_worker(0).await;
    let more = cluster.create_tasks(1, &[]).await;
    cluster.wait_for_all(&more, TaskState::Running).await;
    for task_id in &tasks {
        let task = cluster.get_task(task_id).await;
        assert_eq!((task.attempt, task.status.expect("a status").state()), (1, TaskState::Running));
    }
    assert_eq!(cluster.started_instances(), 6);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_read_through_the_manager() {
    let cluster = Cluster::builder().workers(2).start().await;
    let task_id = cluster.create_task(&[("fake.log", "one|two|three"), ("fake.run_for_ms", "50")]).await;
    cluster.wait_for_state(&task_id, TaskState::Completed).await;
    assert_eq!(cluster.read_logs(&task_id, None).await, "one\ntwo\nthree\n");
    assert_eq!(cluster.read_logs(&task_id, Some(1)).await, "three\n");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_resumes_misses_nothing() {
    let cluster = Cluster::builder().workers(2).start().await;
    let first = cluster.create_tasks(10, &[("fake.run_for_ms", "1")]).await;
    cluster.wait_for_all(&first, TaskState::Completed).await;
    // From the beginning, in two pieces: every revision comes once, in order, without a gap.
    let newest = cluster.revision().await;
    let half = cluster.watch_until(0, newest / 2).await;
    let rest = cluster.watch_until(newest / 2, newest).await;
    let revisions: Vec<u64> = half.iter().chain(&rest).map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=newest).collect::<Vec<_>>());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_can_not_write_says_so_changes_nothing_and_recovers() {
    let cluster = Cluster::builder().workers(1).start().await;
    let before = cluster.create_tasks(2, &[]).await;
    cluster.wait_for_all(&before, TaskState::Running).await;
    cluster.store_fault().set("disk full");
    let refused = cluster.try_create(cluster.fake_spec(&[])).await.expect_err("nothing can be written");
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("disk full"), "{refused:?}");
    eventually("health tells", LIMIT, async || match cluster.manager_is_serving().await {
        false => Ok(()),
        true => Err("still SERVING"),
    })
    .await;
    assert_eq!(cluster.list_tasks().await.len(), 2);
    cluster.store_fault().clear();
    eventually("health recovers", LIMIT, async || match cluster.manager_is_serving().await {
        true => Ok(()),
        false => Err("still NOT_SERVING"),
    })
    .await;
    let after = cluster.create_tasks(1, &[]).await;
    cluster.wait_for_all(&after, TaskState::Running).await;
    cluster.stop().await;
}
