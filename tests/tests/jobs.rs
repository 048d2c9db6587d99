//! Jobs on clusters of real services: on the fake runtime, with processes while services are killed, and on a Docker engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::job_service_client::JobServiceClient;
use davit_tests::cluster::Cluster;
use davit_tests::engine::{Cleared, IMAGE, host_socket, import_image};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(60);

fn spec(name: &str, task: v1::TaskSpec) -> v1::JobSpec {
    v1::JobSpec {
        name: name.to_owned(),
        task: Some(v1::TaskSpec { name: String::new(), ..task }),
        ..Default::default()
    }
}

fn processes(script: &str) -> v1::TaskSpec {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let runtime = v1::task_spec::Runtime::Process(v1::ProcessSpec { command, ..Default::default() });
    v1::TaskSpec { runtime: Some(runtime), ..Default::default() }
}

async fn create(channel: Channel, spec: v1::JobSpec) -> v1::Job {
    let request = v1::CreateJobRequest { spec: Some(spec), ..Default::default() };
    JobServiceClient::new(channel).create_job(request).await.unwrap().into_inner().job.unwrap()
}

/// While the manager is away there is no answer.
async fn get(channel: Channel, name: &str) -> Option<v1::Job> {
    let request = v1::GetJobRequest { job: name.to_owned() };
    JobServiceClient::new(channel).get_job(request).await.ok()?.into_inner().job
}

async fn ended(channel: &Channel, name: &str, run: u32) -> v1::JobRun {
    eventually("the run has ended", LIMIT, async || {
        let job = get(channel.clone(), name).await;
        let of_job = |job: &v1::Job| job.runs.iter().find(|one| one.run == run).cloned();
        let run = job.as_ref().and_then(of_job).filter(|run| run.finish_time.is_some());
        run.ok_or_else(|| format!("{job:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_tried_again_and_no_more_of_them_run_at_once_than_asked_for() {
    let cluster = Cluster::builder().workers(2).start().await;
    let channel = cluster.new_channel();
    let good = v1::JobSpec {
        completions: Some(7),
        parallelism: Some(2),
        ..spec("good", cluster.fake_spec(&[("fake.run_for_ms", "50")]))
    };
    create(channel.clone(), good).await;
    let run = ended(&channel, "good", 1).await;
    assert_eq!((run.state(), run.completed_count), (v1::JobRunState::Completed, 7));
    assert_eq!(run.completed, [v1::IndexRange { first: 0, last: 6 }]);

    let soon = Some(duration_to_proto(Duration::from_millis(100)));
    let restart = v1::RestartPolicy { initial_delay: soon, ..Default::default() };
    let broken = cluster.fake_spec(&[("fake.run_for_ms", "0"), ("fake.exit_code", "3")]);
    let task = v1::TaskSpec { restart_policy: Some(restart), ..broken };
    create(channel.clone(), v1::JobSpec { max_retries: Some(2), ..spec("bad", task) }).await;
    let run = ended(&channel, "bad", 1).await;
    assert_eq!((run.state(), run.failed_count), (v1::JobRunState::Failed, 1));
    assert!(run.reason.starts_with("1 of 1 index failed; index 0 on worker-"), "{}", run.reason);
    let of_job = |task: &v1::Task| task.spec.as_ref().is_some_and(|spec| spec.name == "bad");
    let task = cluster.list_tasks().await.into_iter().find(of_job).unwrap();
    assert_eq!((task.attempt, task.job.unwrap().index), (3, 0));
    cluster.stop().await;
}

/// Promise 3: whatever is killed when, what completed never runs again.
#[tokio::test(flavor = "multi_thread")]
async fn no_kill_makes_a_finished_index_run_again() {
    let mut programs = Programs::start("davit-jobs", &["--heartbeat-period", "3s"]).await;
    let (dir, worker_dir) = (tempfile::tempdir().unwrap(), WorkerDir::new());
    let mut worker = programs.process_worker("node", worker_dir.path(), &[]).await;
    let ran = dir.path().join("ran");
    // One line for each run of an index, written in one go.
    let script = format!("sleep 0.2; echo $DAVIT_INDEX >> {}", ran.display());
    let job = v1::JobSpec { completions: Some(40), parallelism: Some(4), ..spec("many", processes(&script)) };
    create(programs.channel(), job).await;
    let lines = || std::fs::read_to_string(&ran).unwrap_or_default().lines().count();
    for at in [5, 12, 20, 30] {
        eventually("it gets on", LIMIT, async || if lines() >= at { Ok(()) } else { Err(lines()) }).await;
        if at % 2 == 0 {
            programs = programs.with_crashed_manager().await;
        } else {
            worker.kill().await;
            worker = programs.process_worker("node", worker_dir.path(), &[]).await;
        }
    }
    let run = ended(&programs.channel(), "many", 1).await;
    assert_eq!((run.state(), run.completed_count), (v1::JobRunState::Completed, 40));
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for index in std::fs::read_to_string(&ran).unwrap().lines() {
        *times.entry(index.to_owned()).or_default() += 1;
    }
    assert!(times.len() == 40 && times.values().all(|count| *count == 1), "{times:?}");
    // Nor does a start of the manager begin anything of it.
    let programs = programs.with_crashed_manager().await;
    eventually("it answers", LIMIT, async || get(programs.channel(), "many").await.ok_or("no answer")).await;
    assert_eq!(lines(), 40);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_runs_containers_and_a_paused_one_none() {
    import_image(&host_socket());
    let name = format!("davit-cron-{}", std::process::id());
    let _cleared = Cleared { socket: host_socket(), label: format!("dev.davit.cluster={name}") };
    let programs = Programs::start(&name, &[]).await;
    let dir = WorkerDir::new();
    let worker = programs.worker("one", dir.path(), &host_socket(), &[]);
    worker.ready().await;
    let container = v1::ContainerSpec {
        image: IMAGE.to_owned(),
        entrypoint: ["/bin/busybox", "sh", "-c"].map(str::to_owned).to_vec(),
        command: vec!["echo run $DAVIT_RUN of $DAVIT_TASK_NAME says $0".to_owned()],
        ..Default::default()
    };
    let runtime = Some(v1::task_spec::Runtime::Container(container));
    let schedule = v1::JobSchedule { cron: "*/2 * * * * *".to_owned(), ..Default::default() };
    let job = v1::JobSpec {
        arguments: vec![v1::IndexArguments { values: vec!["hello".to_owned()] }],
        schedule: Some(schedule),
        ..spec("tick", v1::TaskSpec { runtime, ..Default::default() })
    };
    create(programs.channel(), job).await;
    let second = ended(&programs.channel(), "tick", 2).await;
    assert!(second.scheduled_time.is_some());
    assert_eq!(second.state(), v1::JobRunState::Completed);

    let mut jobs = JobServiceClient::new(programs.channel());
    jobs.pause_job(v1::PauseJobRequest { job: "tick".to_owned() }).await.unwrap();
    let paused = eventually("what had begun has ended", LIMIT, async || {
        let job = get(programs.channel(), "tick").await.unwrap();
        if job.runs.iter().all(|run| run.finish_time.is_some()) { Ok(job) } else { Err(job) }
    })
    .await;
    assert!(paused.paused && paused.next_run_time.is_none());
    let filter = v1::TaskFilter { job: "tick".to_owned(), ..Default::default() };
    let request = v1::ListTasksRequest { filter: Some(filter), ..Default::default() };
    let tasks = programs.tasks().list_tasks(request).await.unwrap().into_inner().tasks;
    let of_second = tasks.iter().find(|task| task.job.as_ref().is_some_and(|job| job.run == 2)).unwrap();
    let request = v1::StreamTaskLogsRequest { task_id: of_second.task_id.clone(), ..Default::default() };
    let mut stream = programs.tasks().stream_task_logs(request).await.unwrap().into_inner();
    let mut text = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        text.extend(piece.data);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "run 2 of tick says hello\n");
    jobs.delete_job(v1::DeleteJobRequest { job: "tick".to_owned(), ..Default::default() }).await.unwrap();
    eventually("the job is gone with its tasks", LIMIT, async || {
        let tasks = programs.tasks().list_tasks(v1::ListTasksRequest::default()).await.unwrap().into_inner().tasks;
        if tasks.is_empty() && get(programs.channel(), "tick").await.is_none() { Ok(()) } else { Err(tasks) }
    })
    .await;
}
