//! Apps on one node whose services find each other by name, and volumes that stay on their node, with real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::deployment_service_client::DeploymentServiceClient;
use davit_proto::v1::volume_service_client::VolumeServiceClient;
use davit_tests::binaries::Service;
use davit_tests::engine::{Cleared, IMAGE, docker, host_socket, import_image, try_docker};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;

const LIMIT: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = ["one", "two", "three"];

/// A cluster with three workers on the machine's engine.
struct Bed {
    programs: Programs,
    workers: Vec<Option<Service>>,
    cluster: String,
    dirs: Vec<WorkerDir>,
    _cleared: Cleared,
}

impl Bed {
    async fn start(what: &str) -> Self {
        import_image(&host_socket());
        let cluster = format!("davit-{what}-{}", std::process::id());
        let cleared = Cleared { socket: host_socket(), label: format!("dev.davit.cluster={cluster}") };
        let programs = Programs::start(&cluster, &[]).await;
        let dirs: Vec<WorkerDir> = NAMES.iter().map(|_| WorkerDir::new()).collect();
        let mut workers = Vec::new();
        for (name, dir) in NAMES.iter().zip(&dirs) {
            let worker = programs.worker(name, dir.path(), &host_socket(), &[]);
            worker.ready().await;
            workers.push(Some(worker));
        }
        Self { programs, workers, cluster, dirs, _cleared: cleared }
    }

    async fn node_name(&self, node_id: &str) -> String {
        self.programs.node(node_id).await.unwrap().name
    }

    /// Kills the worker of a node, and waits until that is DOWN.
    async fn kill(&mut self, node: &str) -> usize {
        let at = NAMES.iter().position(|name| *name == node).unwrap();
        self.workers[at].take().unwrap().kill().await;
        self.programs.until_node("is DOWN", node, |node| node.state() == v1::NodeState::Down).await;
        at
    }

    async fn start_worker(&mut self, at: usize) {
        let dir = self.dirs[at].path().to_owned();
        let worker = self.programs.worker(NAMES[at], &dir, &host_socket(), &[]);
        worker.ready().await;
        self.workers[at] = Some(worker);
    }

    fn volumes(&self) -> VolumeServiceClient<tonic::transport::Channel> {
        VolumeServiceClient::new(self.programs.channel())
    }

    async fn apply(&self, content: &str) {
        let file = v1::ComposeFile { name: "compose.yaml".to_owned(), content: content.to_owned() };
        let source = v1::AppSource { files: vec![file], name: "shop".to_owned(), ..Default::default() };
        let request = v1::ApplyAppRequest { source: Some(source), ..Default::default() };
        DeploymentServiceClient::new(self.programs.channel()).apply_app(request).await.unwrap();
    }

    /// The tasks that are to run.
    async fn tasks(&self) -> Vec<v1::Task> {
        let listed = self.programs.tasks().list_tasks(v1::ListTasksRequest::default()).await.unwrap().into_inner();
        listed.tasks.into_iter().filter(|task| task.desired_state() == v1::DesiredState::Running).collect()
    }

    /// Waits until so many tasks are ready, and answers the nodes on which they are.
    async fn ready(&self, count: usize) -> BTreeSet<String> {
        eventually("all tasks are ready", LIMIT, async || {
            let tasks = self.tasks().await;
            let status = |task: &v1::Task| task.status.clone().unwrap();
            let is_ready = |task: &v1::Task| status(task).ready && status(task).state() == v1::TaskState::Running;
            match tasks.iter().filter(|task| is_ready(task)).count() == count {
                true => Ok(tasks.iter().map(|task| status(task).node_id).collect()),
                false => {
                    Err(tasks.iter().map(|task| (task.spec.clone().unwrap().name, status(task))).collect::<Vec<_>>())
                }
            }
        })
        .await
    }

    fn networks(&self) -> Vec<String> {
        let filter = format!("label=dev.davit.cluster={}", self.cluster);
        let names = docker(&host_socket(), &["network", "ls", "--format", "{{.Name}}", "--filter", &filter]);
        names.lines().map(str::to_owned).collect()
    }
}

/// A web server, and clients that are healthy only as long as they get its page by its name.
fn shop() -> String {
    let serve = "/bin/busybox mkdir -p /tmp/www; echo here > /tmp/www/index.html; \
                 exec /bin/busybox httpd -f -p 80 -h /tmp/www";
    format!(
        r#"
services:
  web:
    image: {IMAGE}
    pull_policy: never
    entrypoint: [/bin/busybox, sh, -c]
    command: ["{serve}"]
    stop_grace_period: 1s
    deploy: {{replicas: 2}}
  client:
    image: {IMAGE}
    pull_policy: never
    entrypoint: [/bin/busybox, sleep, "3600"]
    stop_grace_period: 1s
    depends_on: [web]
    healthcheck:
      test: [CMD, /bin/busybox, wget, -q, -O, /dev/null, "http://web/"]
      interval: 500ms
      timeout: 5s
      retries: 20
    deploy: {{replicas: 3}}
x-davit:
  colocate: true
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_on_one_node_reaches_its_services_by_name_and_moves_as_a_whole() {
    let mut bed = Bed::start("names").await;
    bed.apply(&shop()).await;
    let first = bed.ready(5).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let node_id = first.into_iter().next().unwrap();
    assert_eq!(bed.networks(), [format!("davit-{node_id}-shop")]);

    let at = bed.kill(&bed.node_name(&node_id).await).await;
    let moved = eventually("all have moved", LIMIT, async || {
        let on = bed.ready(5).await;
        if on.contains(&node_id) { Err(on) } else { Ok(on) }
    })
    .await;
    assert_eq!(moved.len(), 1, "{moved:?}");
    // What the dead worker left goes when it is back, its network too.
    bed.start_worker(at).await;
    let expected = [format!("davit-{}-shop", moved.first().unwrap())];
    eventually("one network is left", LIMIT, async || {
        let networks = bed.networks();
        if networks == expected { Ok(()) } else { Err(networks) }
    })
    .await;

    let request = v1::DeleteAppRequest { app: "shop".to_owned() };
    DeploymentServiceClient::new(bed.programs.channel()).delete_app(request).await.unwrap();
    eventually("no network is left", LIMIT, async || {
        let networks = bed.networks();
        if networks.is_empty() { Ok(()) } else { Err(networks) }
    })
    .await;
}

/// A volume of the engine, which is removed with it.
struct EngineVolume(String, PathBuf);

impl Drop for EngineVolume {
    fn drop(&mut self) {
        let _ = try_docker(&self.1, &["volume", "rm", &self.0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_back_to_its_volume_and_waits_with_the_reason_while_that_is_out_of_reach() {
    let volume = EngineVolume(format!("davit-homes-{}", std::process::id()), host_socket());
    let mut bed = Bed::start("volumes").await;
    let mount = v1::Mount {
        source: Some(v1::mount::Source::VolumeName(volume.0.clone())),
        target: "/data".to_owned(),
        read_only: false,
    };
    let task_id = bed
        .programs
        .create("db", "echo $DAVIT_ATTEMPT_NUMBER >> /data/attempts; exec sleep 3600", |spec| {
            if let Some(v1::task_spec::Runtime::Container(container)) = &mut spec.runtime {
                container.mounts = vec![mount];
                container.pull_policy = v1::PullPolicy::Never.into();
            }
            let grace = Some(davit_proto::convert::duration_to_proto(Duration::from_millis(200)));
            spec.stop_policy = Some(v1::StopPolicy { grace, ..Default::default() });
        })
        .await;
    let home = bed.programs.until(&task_id, v1::TaskState::Running).await.node_id;
    let name = bed.node_name(&home).await;
    let listed = bed.volumes().list_volumes(v1::ListVolumesRequest::default()).await.unwrap().into_inner().volumes;
    assert_eq!((listed[0].name.as_str(), listed[0].node_name.as_str()), (volume.0.as_str(), name.as_str()));
    let refused = v1::DeleteVolumeRequest { volume: volume.0.clone() };
    let refused = bed.volumes().delete_volume(refused).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");

    // Stopped and started, it is where its data is.
    for attempt in 2..4 {
        bed.programs.tasks().stop_task(v1::StopTaskRequest { task_id: task_id.clone() }).await.unwrap();
        bed.programs.until(&task_id, v1::TaskState::Stopped).await;
        bed.programs.tasks().restart_task(v1::RestartTaskRequest { task_id: task_id.clone() }).await.unwrap();
        let again = bed.programs.until(&task_id, v1::TaskState::Running).await;
        assert_eq!((bed.programs.task(&task_id).await.attempt, again.node_id), (attempt, home.clone()));
    }

    // Its node is down: it waits, and says for what.
    let at = bed.kill(&name).await;
    let reason = format!("volume {} is on {name}, which is DOWN", volume.0);
    bed.programs
        .until_task("waits for its volume", &task_id, |task| {
            let status = task.status.clone().unwrap();
            status.state() == v1::TaskState::Pending && status.reason == reason
        })
        .await;
    let request = v1::ExplainTaskRequest { task_id: task_id.clone(), max_nodes: 0 };
    let explained = bed.programs.tasks().explain_task(request).await.unwrap().into_inner();
    assert_eq!(explained.explanation.unwrap().summary, reason);
    bed.start_worker(at).await;
    let again = bed.programs.until(&task_id, v1::TaskState::Running).await;
    assert_eq!((bed.programs.task(&task_id).await.attempt, again.node_id), (4, home.clone()));

    // Its node is drained: it is stopped, waits, and comes back.
    let drain = v1::DrainNodeRequest { node: name.clone(), ..Default::default() };
    bed.programs.nodes().drain_node(drain).await.unwrap();
    bed.programs
        .until_node("is drained", &name, |node| {
            node.drain.as_ref().is_some_and(|drain| drain.state() == v1::DrainState::Drained)
        })
        .await;
    let reason = format!("volume {} is on {name}, which is cordoned", volume.0);
    let waits = |task: &v1::Task| task.status.as_ref().unwrap().reason == reason;
    bed.programs.until_task("waits for its node", &task_id, waits).await;
    bed.programs.nodes().uncordon_node(v1::UncordonNodeRequest { node: name.clone() }).await.unwrap();
    let again = bed.programs.until(&task_id, v1::TaskState::Running).await;
    assert_eq!(again.node_id, home);
    let container = format!("davit-{task_id}-5");
    let written = docker(&host_socket(), &["exec", &container, "/bin/busybox", "cat", "/data/attempts"]);
    assert_eq!(written.lines().collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
}
