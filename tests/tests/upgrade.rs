//! Programs that are stopped and started again one after the other, as an upgrade does it, while tasks run.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_tests::binaries::Service;
use davit_tests::engine::{Cleared, IMAGE, docker, host_socket, import_image};
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use nix::sys::signal::Signal;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(60);

/// A cluster of programs, on a store that outlives the manager.
struct Cluster {
    scheduler: Service,
    manager: Service,
    workers: Vec<Service>,
    dirs: WorkerDir,
    channel: Channel,
    cleared: Cleared,
}

impl Cluster {
    async fn start(workers: usize) -> Self {
        let scheduler = Service::start("davit-scheduler", &[]);
        let name = format!("davit-upgrade-{}", UuidV7Source.next_uuid());
        let cleared = Cleared { socket: host_socket(), label: format!("dev.davit.cluster={name}") };
        import_image(&cleared.socket);
        let arguments = ["--scheduler", &scheduler.address.to_string(), "--cluster", &name];
        let manager = Service::start("davit-manager", &arguments.map(str::to_owned));
        manager.ready().await;
        let channel = davit_svc_kit::client::endpoint(&manager.address.to_string()).unwrap().connect_lazy();
        let dirs = WorkerDir::new();
        let mut cluster = Self { scheduler, manager, workers: Vec::new(), dirs, channel, cleared };
        for index in 0..workers {
            let worker = cluster.worker(index, &[]).await;
            cluster.workers.push(worker);
        }
        cluster
    }

    async fn worker(&self, index: usize, more: &[&str]) -> Service {
        let (manager, name) = (self.manager.address.to_string(), format!("node-{index}"));
        let data_dir = self.dirs.path().join(&name).display().to_string();
        let arguments = ["--manager", &manager, "--data-dir", &data_dir, "--name", &name];
        let socket = self.cleared.socket.display().to_string();
        let runtimes = ["--docker", "on", "--docker-socket", &socket, "--process-runtime", "true"];
        let arguments = [&arguments[..], &runtimes, more].concat();
        let worker = Service::start("davit-worker", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>());
        worker.ready().await;
        worker
    }

    /// A process that writes its pid into a file of its name.
    async fn create(&self, name: &str, then: &str) -> String {
        self.create_task(name, self.process(name, then), v1::NodeLossAction::Unspecified).await
    }

    fn process(&self, name: &str, then: &str) -> v1::task_spec::Runtime {
        let file = self.dirs.path().join(name);
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; {then}", file.display());
        let command = ["sh", "-c", &script].map(str::to_owned).to_vec();
        v1::task_spec::Runtime::Process(v1::ProcessSpec { command, ..Default::default() })
    }

    async fn create_task(&self, name: &str, runtime: v1::task_spec::Runtime, action: v1::NodeLossAction) -> String {
        let on_node_loss = Some(v1::NodeLossPolicy { action: action.into(), wait: None });
        let spec = v1::TaskSpec { name: name.to_owned(), runtime: Some(runtime), on_node_loss, ..Default::default() };
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        let mut tasks = TaskServiceClient::new(self.channel.clone());
        tasks.create_task(request).await.unwrap().into_inner().task.unwrap().task_id
    }

    /// What tells the container of a first attempt from another that took its place, or from itself started anew.
    fn container(&self, task_id: &str) -> String {
        let format = "{{.Id}} {{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}";
        docker(&self.cleared.socket, &["inspect", "--format", format, &format!("davit-{task_id}-1")])
    }

    async fn tasks(&self) -> BTreeMap<String, v1::Task> {
        let request = v1::ListTasksRequest { page_size: 1000, ..Default::default() };
        let mut tasks = TaskServiceClient::new(self.channel.clone());
        let listed = tasks.list_tasks(request).await.unwrap().into_inner().tasks;
        listed.into_iter().map(|task| (task.task_id.clone(), task)).collect()
    }

    /// Waits until all tasks run.
    async fn all_run(&self) -> BTreeMap<String, v1::Task> {
        eventually("all tasks run", LIMIT, async || {
            let tasks = self.tasks().await;
            match tasks.values().find(|task| task.status.as_ref().unwrap().state() != v1::TaskState::Running) {
                Some(other) => Err(other.clone()),
                None => Ok(tasks),
            }
        })
        .await
    }

    async fn node(&self, name: &str) -> v1::Node {
        let request = v1::GetNodeRequest { node: name.to_owned() };
        NodeServiceClient::new(self.channel.clone()).get_node(request).await.unwrap().into_inner().node.unwrap()
    }

    fn pid(&self, name: &str) -> i32 {
        std::fs::read_to_string(self.dirs.path().join(name)).unwrap().trim().parse().unwrap()
    }

    async fn stop(self) {
        let mut tasks = TaskServiceClient::new(self.channel.clone());
        for task_id in self.tasks().await.into_keys() {
            let _ = tasks.stop_task(v1::StopTaskRequest { task_id }).await;
        }
        eventually("all tasks have ended", LIMIT, async || {
            let tasks = self.tasks().await;
            let states = tasks.values().map(|task| task.status.as_ref().unwrap().state());
            let left: BTreeSet<_> = states.filter(|state| *state < v1::TaskState::Completed).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        for service in self.workers.into_iter().chain([self.manager, self.scheduler]) {
            assert!(service.terminate().await.success());
        }
    }
}

fn container() -> v1::task_spec::Runtime {
    let command = ["/bin/busybox", "sh", "-c", "exec sleep 600"].map(str::to_owned).to_vec();
    v1::task_spec::Runtime::Container(v1::ContainerSpec { image: IMAGE.to_owned(), command, ..Default::default() })
}

fn runs(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_upgrade_of_every_program_restarts_no_task() {
    let mut cluster = Cluster::start(3).await;
    let name = |number: usize| format!("sleeper-{number}");
    let mut containers = Vec::new();
    for number in 0..6 {
        let action = if number % 2 == 0 { v1::NodeLossAction::Unspecified } else { v1::NodeLossAction::StopAndReplace };
        cluster.create_task(&name(number), cluster.process(&name(number), "exec sleep 600"), action).await;
        containers.push(cluster.create_task("container", container(), action).await);
    }
    let before = cluster.all_run().await;
    let nodes: BTreeSet<_> = before.values().map(|task| task.status.clone().unwrap().node_id).collect();
    assert_eq!(nodes.len(), 3, "every node has some");
    let pids: Vec<i32> = (0..6).map(|number| cluster.pid(&name(number))).collect();
    let identities = |cluster: &Cluster| containers.iter().map(|task| cluster.container(task)).collect::<Vec<_>>();
    let containers_before = identities(&cluster);

    cluster.manager = cluster.manager.restart().await;
    cluster.create("after-the-manager", "exec sleep 600").await;
    cluster.all_run().await;
    cluster.scheduler = cluster.scheduler.restart().await;
    cluster.create("after-the-scheduler", "exec sleep 600").await;
    cluster.all_run().await;
    for _ in 0..3 {
        let worker = cluster.workers.remove(0).restart().await;
        cluster.workers.push(worker);
        cluster.all_run().await;
    }
    cluster.create("after-all", "exec sleep 600").await;

    let after = cluster.all_run().await;
    for (task_id, task) in &before {
        let (was, is) = (task.status.as_ref().unwrap(), after[task_id].status.as_ref().unwrap());
        assert_eq!((after[task_id].attempt, after[task_id].past_attempts.len()), (1, 0), "{:?}", after[task_id]);
        assert_eq!((is.start_time, &is.node_id), (was.start_time, &was.node_id));
    }
    assert_eq!((0..6).map(|number| cluster.pid(&name(number))).collect::<Vec<_>>(), pids);
    assert!(pids.iter().all(|pid| runs(*pid)));
    assert_eq!(identities(&cluster), containers_before);
    // Nor was any node given up in between.
    let mut events = EventServiceClient::new(cluster.channel.clone());
    let request = v1::ListEventsRequest { page_size: 1000, ..Default::default() };
    for event in events.list_events(request).await.unwrap().into_inner().events {
        if let Some(v1::event::Object::Node(node)) = &event.object {
            assert_ne!(node.state(), v1::NodeState::Down, "{event:?}");
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_restarted_goes_on_with_a_drain() {
    const TASKS: u64 = 6;
    let mut cluster = Cluster::start(1).await;
    // Each takes a while to stop, and only one at a time is on the move.
    for number in 0..TASKS {
        let slow = "trap 'sleep 0.7; exit 0' TERM; while :; do sleep 0.05; done";
        cluster.create(&format!("slow-{number}"), slow).await;
    }
    cluster.all_run().await;
    let worker = cluster.worker(1, &[]).await;
    cluster.workers.push(worker);
    let request = v1::DrainNodeRequest { node: "node-0".to_owned(), max_parallel: 1, ..Default::default() };
    NodeServiceClient::new(cluster.channel.clone()).drain_node(request).await.unwrap();
    let drain = |node: v1::Node| node.drain.expect("the node is drained");
    let at_restart = eventually("some have moved, and some have not", LIMIT, async || {
        let drain = drain(cluster.node("node-0").await);
        if drain.moved_count >= 1 { Ok(drain) } else { Err(drain) }
    })
    .await;
    assert_eq!(at_restart.state(), v1::DrainState::Draining, "{at_restart:?}");

    cluster.manager = cluster.manager.restart().await;
    let resumed = drain(cluster.node("node-0").await);
    assert!(
        resumed.moved_count >= at_restart.moved_count && resumed.start_time == at_restart.start_time,
        "{resumed:?}"
    );
    let done = eventually("the node is drained", LIMIT, async || {
        let drain = drain(cluster.node("node-0").await);
        let is_done = drain.state() == v1::DrainState::Drained && drain.moving_count == 0;
        if is_done { Ok(drain) } else { Err(drain) }
    })
    .await;
    assert_eq!((done.moved_count, done.forced_count), (TASKS, 0), "{done:?}");
    let other = cluster.node("node-1").await.node_id;
    for task in cluster.all_run().await.into_values() {
        assert_eq!((task.attempt, &task.status.as_ref().unwrap().node_id), (2, &other), "{task:?}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_worker_that_waits_for_its_drain_and_leaves_its_tasks() {
    let mut cluster = Cluster::start(0).await;
    let mut worker = cluster.worker(0, &["--drain-on-shutdown", "--drain-timeout", "10m"]).await;
    // There is no other node to move it to.
    cluster.create("stays", "exec sleep 600").await;
    cluster.all_run().await;
    let pid = cluster.pid("stays");
    worker.signal(Signal::SIGTERM);
    eventually("it asks for its drain", LIMIT, async || cluster.node("node-0").await.drain.ok_or("no drain")).await;
    let still = tokio::time::timeout(Duration::from_secs(1), worker.ended(LIMIT)).await;
    assert!(still.is_err(), "it waits for its drain");
    worker.signal(Signal::SIGTERM);
    let status = worker.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(130));
    assert!(runs(pid));

    // When it is back its node takes tasks, and the one that it left was not disturbed.
    let worker = cluster.worker(0, &[]).await;
    cluster.workers.push(worker);
    let node = cluster.node("node-0").await;
    assert!(node.drain.is_none() && !node.cordoned, "{node:?}");
    let task = cluster.all_run().await.into_values().next().unwrap();
    assert_eq!((task.attempt, cluster.pid("stays")), (1, pid));
    cluster.stop().await;
}
