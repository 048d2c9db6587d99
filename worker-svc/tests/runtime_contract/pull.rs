//! Pulls by a real engine, from a registry of the test's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use davit_core::spec::{PullPolicy, RuntimeSpec};
use davit_core::task::PullProgress;
use worker_svc::runtime::{AttemptSpec, DockerConfig, Error, ErrorKind, ProgressSender};

use crate::docker::{Docker, program};
use crate::harness::{check, new_key, task};
use crate::registry::Registry;

fn attempt(image: &str, pull_policy: PullPolicy) -> AttemptSpec {
    let mut spec = program(&["content"]);
    spec.image = image.parse().unwrap();
    spec.pull_policy = pull_policy;
    AttemptSpec {
        key: new_key(),
        spec: Arc::new(task(RuntimeSpec::Container(spec))),
        ports: [].into(),
        env: Vec::new(),
        files: Vec::new(),
    }
}

fn docker() -> Docker {
    Docker { config: DockerConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_image_is_pulled_with_live_bytes_and_layers() {
    let registry = Registry::start().await;
    check(docker(), |bench| async move {
        let attempt = attempt(&registry.image, PullPolicy::Missing);
        let progress = ProgressSender::new(None);
        let mut seen = progress.subscribe();
        let halfway = async {
            // The registry holds back the second half until the first was seen here.
            let is_part = |now: &Option<PullProgress>| now.is_some_and(|now| now.downloaded_bytes > 0);
            let part = seen.wait_for(is_part).await.unwrap().unwrap();
            assert!(part.downloaded_bytes < registry.layer_bytes, "{part:?}");
            assert_eq!((part.total_bytes, part.layers_done, part.layers_total), (registry.layer_bytes, 0, 1));
            registry.second_half.notify_one();
        };
        let (pulled, ()) = tokio::join!(bench.runtime.prepare(&attempt, &progress), halfway);
        pulled.unwrap();
        let bytes = registry.layer_bytes;
        let done = PullProgress { downloaded_bytes: bytes, total_bytes: bytes, layers_done: 1, layers_total: 1 };
        assert_eq!(*progress.borrow(), Some(done));

        // It is there now: nothing is pulled, and nothing is reported.
        let progress = ProgressSender::new(None);
        bench.runtime.prepare(&attempt, &progress).await.unwrap();
        assert_eq!(*progress.borrow(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_many_want_at_once_is_pulled_once_and_all_see_how_far_it_is() {
    let mut asked = Vec::new();
    for wanted in [1, 5] {
        let registry = Registry::start().await;
        registry.second_half.notify_one();
        let image = registry.image.clone();
        check(docker(), |bench| async move {
            let prepares = (0..wanted).map(|_| async {
                let (attempt, progress) = (attempt(&image, PullPolicy::Missing), ProgressSender::new(None));
                bench.runtime.prepare(&attempt, &progress).await.unwrap();
                let progress = progress.borrow().expect("how far it was");
                assert_eq!((progress.layers_done, progress.layers_total), (1, 1));
            });
            futures::future::join_all(prepares).await;
        })
        .await;
        asked.push(registry.asked.load(Ordering::Relaxed));
    }
    assert!(asked[0] > 0 && asked[0] == asked[1], "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_without_progress_is_given_up_and_may_be_tried_again() {
    let registry = Registry::start().await;
    let mut docker = docker();
    docker.config.pull_stall_timeout = Duration::from_millis(800);
    check(docker, |bench| async move {
        let attempt = attempt(&registry.image, PullPolicy::Always);
        let error = bench.runtime.prepare(&attempt, &ProgressSender::new(None)).await.unwrap_err();
        assert!(matches!(error, Error::PullStalled { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_the_registry_does_not_have_is_a_permanent_error() {
    let registry = Registry::start().await;
    check(docker(), |bench| async move {
        let missing = registry.image.replace("app:1", "app:2");
        let error = bench
            .runtime
            .prepare(&attempt(&missing, PullPolicy::Missing), &ProgressSender::new(None))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::PullRejected { .. }), "{error}");
        assert!(error.to_string().contains(&missing), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_does_not_answer_may_do_so_later() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    check(docker(), |bench| async move {
        let attempt = attempt(&format!("127.0.0.1:{port}/app:1"), PullPolicy::Missing);
        let error = bench.runtime.prepare(&attempt, &ProgressSender::new(None)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(matches!(error, Error::PullFailed { .. }), "{error}");
    })
    .await;
}
