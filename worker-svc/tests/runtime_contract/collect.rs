//! Images of a real engine that a worker pulled and nobody uses any more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker as Engine;
use bollard::query_parameters::{RemoveImageOptions, TagImageOptionsBuilder};
use davit_core::id::{NodeId, Revision};
use davit_core::resources::Resources;
use davit_core::spec::{ContainerSpec, PullPolicy, RuntimeSpec};
use davit_core::state::TaskState;
use davit_core::task::{DesiredState, Part};
use davit_proto::convert::Assignment;
use davit_svc_kit::world::World;
use worker_svc::agent::assignments::Batch;
use worker_svc::agent::{Agent, Parts};
use worker_svc::collect::{Limits, collect};
use worker_svc::local_store::{FjallBackend, LocalStore};
use worker_svc::runtime::{DockerConfig, DockerRuntime, Owner};

use crate::harness::{clock, new_key, task, unique};
use crate::image;
use crate::registry::Registry;

const HANG: Duration = Duration::from_secs(60);
/// Whatever is not used goes at once.
const BY_AGE: Limits = Limits {
    high_percent: 100,
    low_percent: 100,
    min_age: Duration::ZERO,
    max_age: Some(Duration::ZERO),
    min_ended_age: Duration::ZERO,
};
/// The disk counts as full, and goes on to.
const BY_PRESSURE: Limits = Limits { high_percent: 0, low_percent: 0, max_age: None, ..BY_AGE };

async fn agent(owner: &Owner, dir: &Path) -> Arc<Agent> {
    let runtime = DockerRuntime::new(owner.clone(), DockerConfig::default(), clock());
    let parts = Parts {
        node_name: "node".to_owned(),
        owner: owner.clone(),
        runtimes: vec![Arc::new(runtime)],
        store: LocalStore::open(Box::new(FjallBackend::new(dir.join("store")))).await.unwrap(),
        retention: Duration::from_secs(3600),
        allocatable: Resources::ZERO,
        lease: Duration::MAX,
        cluster_id: None,
    };
    Agent::start(parts, World::real()).await
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let polled = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(HANG, polled).await.unwrap_or_else(|_| panic!("still not: {what}"));
}

fn acknowledge(agent: &Agent) {
    while let Some(report) = agent.next_report() {
        agent.acknowledge(report.report_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_was_pulled_goes_when_nothing_uses_it_and_no_other_does() {
    image::ensure().await;
    let (registry, dir) = (Registry::start().await, tempfile::tempdir().unwrap());
    registry.second_half.notify_one();
    let engine = Engine::connect_with_unix_defaults().unwrap().negotiate_version().await.unwrap();
    let is_there = async |name: &str| engine.inspect_image(name).await.is_ok();
    let owner = Owner { cluster: "davit-contract".to_owned(), node_id: NodeId(unique()) };
    let first = agent(&owner, dir.path()).await;

    // Nothing in the image can be started: a container that never ran is left.
    let container = ContainerSpec {
        command: vec!["/content".to_owned()],
        pull_policy: PullPolicy::Missing,
        ..ContainerSpec::new(registry.image.parse().unwrap())
    };
    let (key, spec) = (new_key(), task(RuntimeSpec::Container(container)));
    let desired_state = DesiredState::Running;
    let assignment = Assignment {
        key,
        revision: Revision(1),
        desired_state,
        spec: spec.into(),
        ports: [].into(),
        part: Part::Alone,
    };
    first.begin_session(Duration::from_secs(1), None);
    first.assign(Batch { full: true, last: true, assignments: vec![assignment], removed: Vec::new() });
    let state = |agent: &Agent| agent.local_attempts(None, 9).first().map(|attempt| attempt.status.state);
    until("it failed", || state(&first) == Some(TaskState::Failed)).await;
    assert_eq!(first.pulled_images().len(), 1);
    first.shut_down().await;
    drop(first);

    // A worker that was restarted knows what the one before pulled.
    let second = agent(&owner, dir.path()).await;
    let pulled = second.pulled_images();
    assert_eq!(pulled.values().next().unwrap().names, [registry.image.clone()].into());
    let now = || davit_svc_kit::clock::Clock::now(&davit_svc_kit::clock::SystemClock);
    let young_images_stay = Limits { min_age: Duration::from_secs(600), ..BY_PRESSURE };
    acknowledge(&second);
    collect(&second, &BY_PRESSURE, now()).await.unwrap();
    let wanted = second.local_attempts(None, 9)[0].wanted;
    assert_eq!(wanted, None, "nothing goes before the manager has taken this worker in: it may be a copy");
    second.begin_session(Duration::from_secs(1), None);
    collect(&second, &BY_AGE, now()).await.unwrap();
    assert!(is_there(&registry.image).await, "a container uses it, though it has ended");

    // A full disk takes what ended attempts left first, once the manager knows of their end; the image may go right after it.
    acknowledge(&second);
    collect(&second, &young_images_stay, now()).await.unwrap();
    until("what the attempt left is gone", || state(&second).is_none()).await;

    let other = format!("davit-test/kept:{}", unique());
    let (repo, tag) = other.split_once(':').unwrap();
    let named = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
    engine.tag_image(&registry.image, Some(named)).await.unwrap();
    collect(&second, &BY_PRESSURE, now()).await.unwrap();
    assert!(is_there(&registry.image).await, "somebody gave it a name of their own");
    engine.remove_image(&other, None::<RemoveImageOptions>, None).await.unwrap();

    collect(&second, &young_images_stay, now()).await.unwrap();
    assert!(is_there(&registry.image).await, "it was pulled a moment ago");
    collect(&second, &BY_PRESSURE, now()).await.unwrap();
    assert!(!is_there(&registry.image).await);
    assert!(second.pulled_images().is_empty());
    assert!(is_there(image::REFERENCE).await, "nobody pulled it");
    second.shut_down().await;
}
