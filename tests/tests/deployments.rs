//! Deployments on clusters of real services with the fake runtime; `containers.rs` has them on a Docker engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::deployment_service_client::DeploymentServiceClient;
use davit_proto::v1::deployment_spec::Mode;
use davit_proto::v1::watch_events_response::Message;
use davit_tests::cluster::Cluster;
use davit_tests::wait::eventually;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(30);

fn service(cluster: &Cluster) -> DeploymentServiceClient<Channel> {
    DeploymentServiceClient::new(cluster.new_channel())
}

/// A policy that waits no longer than a test has to.
fn policy(order: v1::UpdateOrder) -> v1::UpdatePolicy {
    let monitor = Some(davit_proto::convert::duration_to_proto(Duration::from_millis(200)));
    v1::UpdatePolicy { order: order.into(), monitor, ..Default::default() }
}

fn spec(name: &str, replicas: u32, task: v1::TaskSpec, policy: v1::UpdatePolicy) -> v1::DeploymentSpec {
    v1::DeploymentSpec {
        name: name.to_owned(),
        mode: Some(Mode::Replicated(v1::ReplicatedMode { replicas: Some(replicas) })),
        task: Some(v1::TaskSpec { name: String::new(), ..task }),
        update_policy: Some(policy),
        ..Default::default()
    }
}

/// The same task with another command, so that one has to take the place of the other.
fn another(mut task: v1::TaskSpec) -> v1::TaskSpec {
    if let Some(v1::task_spec::Runtime::Container(container)) = &mut task.runtime {
        container.command = vec!["2".to_owned()];
    }
    task
}

async fn create(cluster: &Cluster, spec: v1::DeploymentSpec) -> v1::Deployment {
    let request = v1::CreateDeploymentRequest { spec: Some(spec), ..Default::default() };
    service(cluster).create_deployment(request).await.unwrap().into_inner().deployment.unwrap()
}

async fn update(cluster: &Cluster, spec: v1::DeploymentSpec) -> v1::Deployment {
    let request = v1::UpdateDeploymentRequest { deployment: spec.name.clone(), spec: Some(spec), ..Default::default() };
    service(cluster).update_deployment(request).await.unwrap().into_inner().deployment.unwrap()
}

async fn get(cluster: &Cluster, name: &str) -> v1::Deployment {
    let request = v1::GetDeploymentRequest { deployment: name.to_owned() };
    service(cluster).get_deployment(request).await.unwrap().into_inner().deployment.unwrap()
}

/// Waits for the end of the rollout, as a client does that watches it.
async fn settled(cluster: &Cluster, name: &str) -> v1::Deployment {
    let watched = async {
        let request = v1::WatchRolloutRequest { deployment: name.to_owned(), through_promotion: false };
        let mut watch = service(cluster).watch_rollout(request).await.unwrap().into_inner();
        let mut last = None;
        while let Some(message) = watch.message().await.unwrap() {
            last = message.deployment;
        }
        last.unwrap()
    };
    tokio::time::timeout(LIMIT, watched).await.expect("it comes to its end")
}

fn state(deployment: &v1::Deployment) -> v1::RolloutState {
    deployment.rollout.as_ref().unwrap().state()
}

/// How many tasks of a deployment served after each change since a revision, as the log of events tells.
async fn served_after_each_change(cluster: &Cluster, deployment_id: &str, first: u64, last: u64) -> Vec<usize> {
    let request = v1::WatchEventsRequest { after_revision: Some(0), filter: None };
    let mut events = v1::event_service_client::EventServiceClient::new(cluster.new_channel())
        .watch_events(request)
        .await
        .unwrap()
        .into_inner();
    let (mut serving, mut counts) = (BTreeMap::new(), Vec::new());
    while let Some(message) = events.message().await.unwrap() {
        let Some(Message::Event(event)) = message.message else { continue };
        let revision = event.revision;
        if let Some(v1::event::Object::Task(task)) = event.object
            && task.deployment.as_ref().is_some_and(|slot| slot.deployment_id == deployment_id)
        {
            let status = task.status.as_ref().unwrap();
            let serves = status.ready
                && status.state() == v1::TaskState::Running
                && task.desired_state() == v1::DesiredState::Running;
            serving.insert(task.task_id, serves);
        }
        if revision >= first {
            counts.push(serving.values().filter(|serves| **serves).count());
        }
        if revision >= last {
            break;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn with_start_first_never_do_fewer_serve_than_are_wanted() {
    let cluster = Cluster::builder().workers(3).start().await;
    let first = spec("web", 6, cluster.fake_spec(&[]), policy(v1::UpdateOrder::StartFirst));
    create(&cluster, first.clone()).await;
    let before = settled(&cluster, "web").await;
    assert_eq!((state(&before), before.counts.unwrap().ready), (v1::RolloutState::Complete, 6));
    let second = v1::DeploymentSpec { task: Some(another(cluster.fake_spec(&[]))), ..first };
    let parallel = v1::UpdatePolicy { parallelism: Some(2), ..policy(v1::UpdateOrder::StartFirst) };
    let second = v1::DeploymentSpec { update_policy: Some(parallel), ..second };
    update(&cluster, second).await;
    let after = settled(&cluster, "web").await;
    assert_eq!((state(&after), after.version), (v1::RolloutState::Complete, 2));
    let counts = after.counts.unwrap();
    assert_eq!((counts.updated, counts.outdated, counts.ready), (6, 0, 6));
    let served = served_after_each_change(&cluster, &after.deployment_id, before.revision, after.revision).await;
    assert!(served.len() > 20, "{served:?}");
    assert_eq!(served.iter().min(), Some(&6), "{served:?}");
    assert!(*served.iter().max().unwrap() <= 8, "no more than two beside them: {served:?}");
    eventually("the old ones are gone", LIMIT, async || {
        let running = cluster.running_instances();
        if running == 6 { Ok(()) } else { Err(running) }
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_start_goes_back_by_itself_and_nothing_that_served_is_lost() {
    let cluster = Cluster::builder().workers(2).start().await;
    let rollback = v1::RolloutFailureAction::Rollback.into();
    let update_policy = v1::UpdatePolicy { on_failure: rollback, ..policy(v1::UpdateOrder::StartFirst) };
    let first = spec("web", 3, cluster.fake_spec(&[]), update_policy);
    create(&cluster, first.clone()).await;
    settled(&cluster, "web").await;
    let tasks = || async {
        let tasks = cluster.list_tasks().await;
        let live = tasks.into_iter().filter(|task| task.desired_state() == v1::DesiredState::Running);
        live.map(|task| (task.task_id, task.attempt)).collect::<Vec<_>>()
    };
    let before = tasks().await;
    let broken = another(cluster.fake_spec(&[("fake.exit_code", "3"), ("fake.run_for_ms", "0")]));
    update(&cluster, v1::DeploymentSpec { task: Some(broken), ..first }).await;
    let after = settled(&cluster, "web").await;
    let rollout = after.rollout.clone().unwrap();
    assert_eq!((rollout.state(), rollout.rollback, after.version), (v1::RolloutState::Complete, true, 3));
    assert_eq!(tasks().await, before);
    let version = after.versions.last().unwrap();
    assert_eq!(version.author, "davit");
    for told in [&version.change, &rollout.reason] {
        assert!(told.contains("exited with code 3"), "it says why: {told}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_deployment_comes_to_a_node_that_joins_and_leaves_one_that_is_drained() {
    let mut cluster = Cluster::builder().workers(3).start().await;
    cluster.stop_worker(2).await;
    let global = v1::DeploymentSpec {
        mode: Some(Mode::Global(v1::GlobalMode {})),
        ..spec("agent", 0, cluster.fake_spec(&[]), policy(v1::UpdateOrder::StopFirst))
    };
    create(&cluster, global).await;
    settled(&cluster, "agent").await;
    assert_eq!(get(&cluster, "agent").await.counts.unwrap().ready, 2);
    cluster.start_worker(2).await;
    let ready = |count: u32| {
        let cluster = &cluster;
        async move {
            eventually("it is where it is to be", LIMIT, async || {
                let counts = get(cluster, "agent").await.counts.unwrap();
                if (counts.ready, counts.desired, counts.stopping) == (count, count, 0) { Ok(()) } else { Err(counts) }
            })
            .await;
        }
    };
    ready(3).await;
    cluster.drain_node("worker-0", 1, None).await;
    ready(2).await;
    let on_it = cluster.get_node("worker-0").await.task_count;
    assert_eq!(on_it, 0);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_told_in_one_line() {
    let cluster = Cluster::builder().workers(1).start().await;
    let broken = cluster.fake_spec(&[("fake.exit_code", "137"), ("fake.run_for_ms", "0")]);
    let soon = Some(davit_proto::convert::duration_to_proto(Duration::from_millis(100)));
    let restart = v1::RestartPolicy { mode: v1::RestartMode::Always.into(), initial_delay: soon, ..Default::default() };
    let task = v1::TaskSpec { restart_policy: Some(restart), ..broken };
    create(&cluster, spec("web", 2, task, policy(v1::UpdateOrder::StopFirst))).await;
    let told = eventually("it is told", LIMIT, async || {
        let deployment = get(&cluster, "web").await;
        if deployment.trouble.starts_with("2 of 2 slots crash") { Ok(deployment.trouble) } else { Err(deployment) }
    })
    .await;
    assert_eq!(told, "2 of 2 slots crash: exit 137 on worker-0");
    cluster.stop().await;
}
