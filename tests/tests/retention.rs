//! A manager keeps as much of the past as its flags say, and is not confused by what it no longer has.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeSet;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tonic::Code;
use tonic_types::StatusExt as _;

const LIMIT: Duration = Duration::from_secs(40);
const TASKS: u64 = 6;

/// A cluster whose manager has these flags, with a worker.
struct Cluster {
    programs: Programs,
    _worker: davit_tests::binaries::Service,
    _data_dir: WorkerDir,
}

impl Cluster {
    async fn start(flags: &[&str]) -> Self {
        let programs = Programs::start("davit-retention", flags).await;
        let data_dir = WorkerDir::new();
        let worker = programs.process_worker("node", data_dir.path(), &[]).await;
        Self { programs, _worker: worker, _data_dir: data_dir }
    }

    fn events(&self) -> EventServiceClient<tonic::transport::Channel> {
        EventServiceClient::new(self.programs.channel())
    }

    async fn create(&self, script: &str) -> String {
        self.programs.create_process("past", script, |_| ()).await
    }

    /// Has so many tasks run one after the other, until the manager has counted the end of each.
    async fn run_some(&self) -> Vec<String> {
        let mut task_ids = Vec::new();
        for number in 1..=TASKS {
            task_ids.push(self.create("true").await);
            eventually("the end is counted", LIMIT, async || match self.totals().await {
                totals if totals.completed == number => Ok(()),
                totals => Err(totals),
            })
            .await;
        }
        task_ids
    }

    async fn totals(&self) -> v1::TaskTotals {
        self.programs.cluster().await.totals.unwrap()
    }

    async fn task_ids(&self) -> BTreeSet<String> {
        let listed = self.programs.tasks().list_tasks(v1::ListTasksRequest::default()).await.unwrap();
        listed.into_inner().tasks.into_iter().map(|task| task.task_id).collect()
    }

    async fn until_tasks_are(&self, wanted: &[String]) {
        let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
        eventually("only these tasks are left", LIMIT, async || match self.task_ids().await {
            listed if listed == wanted => Ok(()),
            listed => Err(listed),
        })
        .await;
    }

    /// Checks that totals stay, and that a task which is no longer kept is none.
    async fn check_the_past(&self, gone: &str) {
        let totals = self.totals().await;
        let expected = v1::TaskTotals { created: totals.created, completed: TASKS, ..Default::default() };
        assert_eq!(totals, expected);
        assert!(totals.created >= TASKS);
        let request = v1::GetTaskRequest { task_id: gone.to_owned() };
        assert_eq!(self.programs.tasks().get_task(request).await.unwrap_err().code(), Code::NotFound);
    }

    /// The revision from which events can be watched on, as whoever asks for older ones is told.
    async fn oldest_as_told(&self, after_revision: u64) -> u64 {
        let request = v1::WatchEventsRequest { after_revision: Some(after_revision), filter: None };
        let watched = self.events().watch_events(request).await;
        let status = match watched {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
        };
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "REVISION_IS_COMPACTED");
        info.metadata["oldest_revision"].parse().unwrap()
    }

    /// The events that are kept, each by its revision.
    async fn kept(&self) -> Vec<u64> {
        let request = v1::ListEventsRequest { page_size: 1000, ..Default::default() };
        let listed = self.events().list_events(request).await.unwrap().into_inner().events;
        listed.into_iter().map(|event| event.revision).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_ended_tasks_and_events_are_kept_than_the_flags_say() {
    const EVENTS: usize = 12;
    let flags = ["--kept-finished-tasks", "2", "--kept-events", &EVENTS.to_string()];
    let cluster = Cluster::start(&flags).await;
    let runs = cluster.create("exec sleep 600").await;
    cluster.programs.until(&runs, v1::TaskState::Running).await;
    let ended = cluster.run_some().await;
    let mut kept = ended[ended.len() - 2..].to_vec();
    kept.push(runs.clone());
    cluster.until_tasks_are(&kept).await;
    cluster.check_the_past(&ended[0]).await;

    let revision = cluster.programs.cluster().await.revision;
    let kept = cluster.kept().await;
    assert_eq!(kept, (revision + 1 - EVENTS as u64..=revision).collect::<Vec<_>>());
    assert_eq!(cluster.programs.cluster().await.oldest_event_revision, kept[0]);
    assert_eq!(cluster.oldest_as_told(1).await, kept[0]);
    assert_eq!(cluster.oldest_as_told(kept[0] - 2).await, kept[0]);
    // From there on nothing is missed.
    let request = v1::WatchEventsRequest { after_revision: Some(kept[0] - 1), filter: None };
    let mut stream = cluster.events().watch_events(request).await.unwrap().into_inner();
    for revision in kept {
        let event = loop {
            match stream.message().await.unwrap().unwrap().message.unwrap() {
                v1::watch_events_response::Message::Event(event) => break event,
                v1::watch_events_response::Message::Bookmark(_) => {}
            }
        };
        assert_eq!(event.revision, revision);
    }
    stop(&cluster, &runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_tasks_and_events_are_kept_for_as_long_as_the_flags_say() {
    let cluster = Cluster::start(&["--finished-task-retention", "2s", "--event-retention", "3s"]).await;
    let runs = cluster.create("exec sleep 600").await;
    cluster.programs.until(&runs, v1::TaskState::Running).await;
    let ended = cluster.run_some().await;
    cluster.until_tasks_are(std::slice::from_ref(&runs)).await;
    cluster.check_the_past(&ended[0]).await;

    eventually("no event is left", LIMIT, async || match cluster.kept().await {
        kept if kept.is_empty() => Ok(()),
        kept => Err(kept),
    })
    .await;
    let revision = cluster.programs.cluster().await.revision;
    assert_eq!(cluster.oldest_as_told(1).await, revision + 1);
    // What comes now is told.
    let request = v1::WatchEventsRequest { after_revision: Some(revision), filter: None };
    let mut stream = cluster.events().watch_events(request).await.unwrap().into_inner();
    stop(&cluster, &runs).await;
    let next = loop {
        if let Some(v1::watch_events_response::Message::Event(event)) = stream.message().await.unwrap().unwrap().message
        {
            break event.revision;
        }
    };
    assert_eq!(next, revision + 1);
}

async fn stop(cluster: &Cluster, task_id: &str) {
    let request = v1::StopTaskRequest { task_id: task_id.to_owned() };
    cluster.programs.tasks().stop_task(request).await.unwrap();
    cluster.programs.until(task_id, v1::TaskState::Stopped).await;
}
