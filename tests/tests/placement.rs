//! In-process clusters of real services: where tasks go, who makes room for whom, and what users are told of it.

use std::collections::BTreeSet;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::TaskState;
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;

const LIMIT: Duration = Duration::from_secs(20);

/// A task that sets cores aside.
fn taking(cluster: &Cluster, cores: f64) -> v1::TaskSpec {
    let reservation = v1::Resources { cpu_millis: (cores * 1000.0) as u64, ..Default::default() };
    let resources = v1::ResourceRequirements { reservation: Some(reservation), ..Default::default() };
    v1::TaskSpec { resources: Some(resources), ..cluster.fake_spec(&[]) }
}

/// A task of that name and priority, which takes the place of less important ones if it must.
fn preempting(cluster: &Cluster, name: &str, priority: i32, cores: f64) -> v1::TaskSpec {
    let placement = v1::PlacementPolicy { priority, may_preempt: true, ..Default::default() };
    v1::TaskSpec { name: name.to_owned(), placement: Some(placement), ..taking(cluster, cores) }
}

/// Waits until a task waits for a reason that begins like this; answers the reason.
async fn waits_because(cluster: &Cluster, task_id: &str, begins: &str) -> String {
    eventually(&format!("a reason like `{begins}`"), LIMIT, async || {
        let status = cluster.status_of(task_id).await;
        let waits = status.state() == TaskState::Pending && status.reason.starts_with(begins);
        if waits { Ok(status.reason) } else { Err((status.state(), status.reason)) }
    })
    .await
}

async fn nodes_of(cluster: &Cluster, task_ids: &[String]) -> BTreeSet<String> {
    let mut nodes = BTreeSet::new();
    for task_id in task_ids {
        nodes.insert(cluster.status_of(task_id).await.node_id);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn one_victim_makes_room_for_all_that_fit_into_it_and_is_placed_again_when_there_is_room() {
    let cluster = Cluster::builder().workers(4).cores(4).start().await;
    let low = cluster.create_many(4, taking(&cluster, 4.0)).await;
    cluster.wait_for_all(&low, TaskState::Running).await;
    let high = cluster.create_many(3, preempting(&cluster, "important", 10, 1.0)).await;
    cluster.wait_for_all(&high, TaskState::Running).await;
    assert_eq!(nodes_of(&cluster, &high).await.len(), 1, "they share the room of one");

    let signalled = cluster.signalled();
    assert_eq!(signalled.len(), 1, "more were stopped than needed: {signalled:?}");
    let (victim, attempt) = signalled.first().expect("a victim").clone();
    assert!(low.contains(&victim) && attempt == 1);
    let task = cluster.get_task(&victim).await;
    assert_eq!(task.attempt, 2);
    let past = task.past_attempts[0].status.as_ref().expect("a status");
    assert_eq!((past.state(), past.exit_code), (TaskState::Stopped, Some(143)), "SIGTERM, and no kill");
    assert!(past.reason.contains("preempted by important (priority 10)"), "{past:?}");
    waits_because(&cluster, &victim, "fits 0 of 4 nodes: ").await;
    let events = cluster.events_of(&victim).await;
    let told = |event: &&v1::Event| event.message.contains("is stopped: preempted by important (priority 10), task ");
    let told: Vec<_> = events.iter().filter(told).map(|event| &event.message).collect();
    assert_eq!(told.len(), 1, "{events:#?}");
    assert!(high.iter().any(|task_id| told[0].contains(task_id)), "{told:?} names who it was stopped for");
    for spared in low.iter().filter(|task_id| **task_id != victim) {
        let task = cluster.get_task(spared).await;
        assert_eq!((task.attempt, task.status.expect("a status").state()), (1, TaskState::Running));
    }

    for task_id in &high {
        cluster.stop_task(task_id).await;
    }
    cluster.wait_for_state(&victim, TaskState::Running).await;
    assert_eq!(cluster.get_task(&victim).await.attempt, 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_victim_has_its_time_to_stop_and_who_comes_meanwhile_has_nobody_else_stopped() {
    let cluster = Cluster::builder().workers(3).cores(4).start().await;
    let mut low = taking(&cluster, 4.0);
    low.labels.insert("fake.ignores_stop".to_owned(), "true".to_owned());
    let grace = Some(davit_proto::convert::duration_to_proto(Duration::from_secs(1)));
    low.stop_policy = Some(v1::StopPolicy { grace, ..Default::default() });
    let low = cluster.create_many(3, low).await;
    cluster.wait_for_all(&low, TaskState::Running).await;
    let mut high = vec![cluster.create(preempting(&cluster, "first", 10, 1.0)).await];
    eventually("one is being stopped", LIMIT, async || {
        let tasks = cluster.list_tasks().await.into_iter().filter_map(|task| task.status);
        let states: Vec<_> = tasks.map(|status| status.state()).collect();
        if states.contains(&TaskState::Stopping) { Ok(()) } else { Err(states) }
    })
    .await;
    high.push(cluster.create(preempting(&cluster, "second", 10, 2.0)).await);
    high.push(cluster.create(preempting(&cluster, "third", 10, 1.0)).await);
    cluster.wait_for_all(&high, TaskState::Running).await;
    assert_eq!(nodes_of(&cluster, &high).await.len(), 1);
    let signalled = cluster.signalled();
    assert_eq!(signalled.len(), 1, "more were stopped than needed: {signalled:?}");
    let (victim, _) = signalled.first().expect("a victim");
    let past = cluster.get_task(victim).await.past_attempts.remove(0).status.expect("a status");
    assert_eq!((past.state(), past.exit_code), (TaskState::Stopped, Some(137)), "killed after its grace");
    assert!(past.reason.contains("preempted by first (priority 10)"), "{past:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_equal_priority_are_never_stopped_for_each_other() {
    let cluster = Cluster::builder().workers(3).cores(4).start().await;
    let running = cluster.create_many(3, preempting(&cluster, "running", 10, 4.0)).await;
    cluster.wait_for_all(&running, TaskState::Running).await;
    let equal = cluster.create(preempting(&cluster, "equal", 10, 4.0)).await;
    waits_because(&cluster, &equal, "fits 0 of 3 nodes: ").await;
    // One that is more important is served though it came later. Whatever was to happen has happened then.
    let higher = cluster.create(preempting(&cluster, "higher", 11, 4.0)).await;
    cluster.wait_for_state(&higher, TaskState::Running).await;
    waits_because(&cluster, &equal, "fits 0 of 3 nodes: ").await;
    let signalled = cluster.signalled();
    assert_eq!(signalled.len(), 1, "{signalled:?}");
    let (victim, _) = signalled.first().expect("a victim");
    let past = cluster.get_task(victim).await.past_attempts.remove(0).status.expect("a status");
    assert!(past.reason.contains("preempted by higher (priority 11)"), "{past:?}");
    assert_eq!(cluster.get_task(&equal).await.attempt, 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_failed_on_a_node_goes_to_another_although_the_first_is_cheaper() {
    let cluster = Cluster::builder().workers(2).cores(4).start().await;
    let loaded = cluster.create(taking(&cluster, 1.0)).await;
    cluster.wait_for_state(&loaded, TaskState::Running).await;
    let loaded_node = cluster.status_of(&loaded).await.node_id;

    let mut crashing = taking(&cluster, 1.0);
    crashing
        .labels
        .extend([("fake.run_for_ms", "1"), ("fake.exit_code", "3")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    crashing.restart_policy = Some(v1::RestartPolicy {
        mode: v1::RestartMode::OnFailure.into(),
        max_attempts: 2,
        initial_delay: Some(davit_proto::convert::duration_to_proto(Duration::from_millis(100))),
        ..Default::default()
    });
    let crashing = cluster.create(crashing).await;
    let task = eventually("both attempts have failed", LIMIT, async || {
        let task = cluster.get_task(&crashing).await;
        let ended = task.attempt == 2 && task.status.as_ref().is_some_and(|s| s.state() == TaskState::Failed);
        if ended { Ok(task) } else { Err(task.status) }
    })
    .await;
    let first = task.past_attempts[0].status.as_ref().expect("a status");
    assert_ne!(first.node_id, loaded_node, "the empty node is the cheaper one");
    assert_eq!(task.status.expect("a status").node_id, loaded_node);

    // For all others the first node still is the cheaper one.
    let other = cluster.create(taking(&cluster, 1.0)).await;
    cluster.wait_for_state(&other, TaskState::Running).await;
    assert_eq!(cluster.status_of(&other).await.node_id, first.node_id);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_task_fits_nowhere_reads_the_same_on_the_task_in_its_event_and_where_it_is_explained() {
    let cluster = Cluster::builder().workers(3).cores(4).start().await;
    cluster.label_node("worker-1", &[("disk", "ssd")]).await;
    let mut spec = taking(&cluster, 5.0);
    spec.constraints = vec!["disk == ssd".to_owned()];
    let task_id = cluster.create(spec).await;
    let reason = waits_because(&cluster, &task_id, "fits 0 of 3 nodes: ").await;
    assert!(reason.contains("lack cpu") && reason.contains("disk == ssd"), "{reason}");

    let events = cluster.events_of(&task_id).await;
    let event = events.last().expect("an event");
    assert_eq!(event.r#type(), v1::EventType::TaskUpdated);
    assert_eq!(event.message, format!("attempt 1 waits: {reason}"));
    let Some(v1::event::Object::Task(told)) = &event.object else { panic!("{event:?}") };
    assert_eq!(told.status.as_ref().map(|status| &status.reason), Some(&reason));
    assert_eq!(cluster.explain(&task_id).await.summary, reason);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_that_does_not_fit_waits_whole_and_is_placed_whole_once_there_is_room() {
    let cluster = Cluster::builder().workers(2).cores(4).start().await;
    let holder = cluster.create(taking(&cluster, 3.0)).await;
    cluster.wait_for_state(&holder, TaskState::Running).await;
    let gang = cluster.create_gang(6, taking(&cluster, 1.0)).await;
    for task_id in &gang {
        let reason = waits_because(&cluster, task_id, "needs room for all 6 at once, 5 fit; ").await;
        assert!(reason.contains("fits 0 of 2 nodes"), "{reason}");
    }
    // It holds no room while it waits: whoever fits goes before it.
    let alone = cluster.create_many(5, taking(&cluster, 1.0)).await;
    cluster.wait_for_all(&alone, TaskState::Running).await;
    for task_id in &gang {
        waits_because(&cluster, task_id, "needs room for all 6 at once, ").await;
    }
    // Room for five of them, once more; and then for the last.
    for task_id in &alone {
        cluster.stop_task(task_id).await;
    }
    cluster.wait_for_all(&alone, TaskState::Stopped).await;
    for task_id in &gang {
        waits_because(&cluster, task_id, "needs room for all 6 at once, 5 fit; ").await;
    }
    cluster.stop_task(&holder).await;
    cluster.wait_for_all(&gang, TaskState::Running).await;

    let mut revisions = Vec::new();
    for task_id in &gang {
        let events = cluster.events_of(task_id).await;
        let scheduled: Vec<_> = events.iter().filter(|event| event.message.contains("SCHEDULED")).collect();
        assert_eq!(scheduled.len(), 1, "{scheduled:#?}");
        revisions.push(scheduled[0].revision);
    }
    revisions.sort_unstable();
    let first = revisions[0];
    assert_eq!(revisions, (first..first + 6).collect::<Vec<_>>(), "nothing came between them");
    cluster.stop().await;
}
