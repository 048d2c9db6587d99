//! A rolling update of real containers under load: a client that asks one ready task after another never sees an error.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use davit_proto::convert::duration_to_proto;
use davit_proto::v1;
use davit_proto::v1::deployment_service_client::DeploymentServiceClient;
use davit_proto::v1::deployment_spec::Mode;
use davit_proto::v1::health_check::Probe;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_tests::engine::{Cleared, IMAGE, host_socket, import_image};
use davit_tests::programs::Programs;
use davit_tests::worker_dir::WorkerDir;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

const REPLICAS: u32 = 3;
/// How old what the client knows of ready tasks may be. What is being stopped serves for longer: the first process of a container
/// that has no handler for SIGTERM goes on until its grace is over.
const KNOWN_FOR: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(2);

/// Serves its version, a while after its start.
fn server(version: &str) -> v1::TaskSpec {
    let script = format!(
        "/bin/busybox mkdir /tmp/www; sleep 0.3; echo {version} > /tmp/www/health; \
         exec /bin/busybox httpd -f -p 8080 -h /tmp/www"
    );
    let container = v1::ContainerSpec {
        image: IMAGE.to_owned(),
        entrypoint: ["/bin/busybox", "sh", "-c"].map(str::to_owned).to_vec(),
        command: vec![script],
        ports: vec![v1::Port { container_port: 8080, ..Default::default() }],
        ..Default::default()
    };
    let http = v1::HttpProbe { port: 8080, path: "/health".to_owned(), ..Default::default() };
    let interval = Some(duration_to_proto(Duration::from_millis(200)));
    let check = v1::HealthCheck { probe: Some(Probe::Http(http)), interval, ..Default::default() };
    v1::TaskSpec {
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        health_check: Some(check.into()),
        stop_policy: Some(v1::StopPolicy { grace: Some(duration_to_proto(GRACE)), ..Default::default() }),
        ..Default::default()
    }
}

fn spec(version: &str) -> v1::DeploymentSpec {
    let update_policy = v1::UpdatePolicy {
        order: v1::UpdateOrder::StartFirst.into(),
        monitor: Some(duration_to_proto(Duration::from_millis(500))),
        ..Default::default()
    };
    v1::DeploymentSpec {
        name: "web".to_owned(),
        mode: Some(Mode::Replicated(v1::ReplicatedMode { replicas: Some(REPLICAS) })),
        task: Some(server(version)),
        update_policy: Some(update_policy),
        ..Default::default()
    }
}

async fn settled(client: &mut DeploymentServiceClient<Channel>) -> v1::Deployment {
    let request = v1::WatchRolloutRequest { deployment: "web".to_owned(), through_promotion: false };
    let mut watch = client.watch_rollout(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(message) = watch.message().await.unwrap() {
        last = message.deployment;
    }
    last.unwrap()
}

/// What is known of the load.
#[derive(Debug, Default)]
struct Load {
    answered: Mutex<usize>,
    versions: Mutex<BTreeSet<String>>,
    errors: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// Where tasks are ready now.
async fn ready(tasks: &mut TaskServiceClient<Channel>) -> Vec<SocketAddr> {
    let filter = v1::TaskFilter { name: "web".to_owned(), ..Default::default() };
    let request = v1::ListTasksRequest { filter: Some(filter), ..Default::default() };
    let tasks = tasks.list_tasks(request).await.unwrap().into_inner().tasks;
    let serves = |task: &v1::Task| {
        let status = task.status.as_ref()?;
        let is_ready = status.ready && status.state() == v1::TaskState::Running;
        let wanted = task.desired_state() == v1::DesiredState::Running;
        let port = u16::try_from(status.ports.first()?.host_port).ok()?;
        (is_ready && wanted).then(|| SocketAddr::from(([127, 0, 0, 1], port)))
    };
    tasks.iter().filter_map(serves).collect()
}

async fn get(address: SocketAddr) -> Result<String, String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match tokio::time::timeout(Duration::from_secs(5), asked).await {
        Ok(answer) => answer.map_err(|problem| format!("{address}: {problem}"))?,
        Err(_) => return Err(format!("{address}: no answer in time")),
    };
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.trim().to_owned()),
        _ => Err(format!("{address} answered {answer:?}")),
    }
}

/// Asks one ready task after the other until it is to stop.
async fn put_load(mut tasks: TaskServiceClient<Channel>, load: Arc<Load>) {
    while !load.stop.load(Ordering::Relaxed) {
        let addresses = ready(&mut tasks).await;
        if addresses.len() < REPLICAS as usize {
            load.errors.lock().push(format!("only {} tasks are ready", addresses.len()));
        }
        let began = tokio::time::Instant::now();
        for address in addresses.iter().cycle().take_while(|_| began.elapsed() < KNOWN_FOR) {
            match get(*address).await {
                Ok(version) => {
                    *load.answered.lock() += 1;
                    load.versions.lock().insert(version);
                }
                Err(problem) => load.errors.lock().push(problem),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_sees_no_error_while_every_task_is_replaced() {
    import_image(&host_socket());
    let name = format!("davit-rolling-{}", std::process::id());
    let _cleared = Cleared { socket: host_socket(), label: format!("dev.davit.cluster={name}") };
    let programs = Programs::start(&name, &[]).await;
    let dirs = [WorkerDir::new(), WorkerDir::new()];
    let workers: Vec<_> = ["one", "two"]
        .iter()
        .zip(&dirs)
        .zip(["21000-21099", "21100-21199"])
        .map(|((name, dir), ports)| programs.worker(name, dir.path(), &host_socket(), &["--port-range", ports]))
        .collect();
    for worker in &workers {
        worker.ready().await;
    }
    let mut client = DeploymentServiceClient::new(programs.channel());
    let create = v1::CreateDeploymentRequest { spec: Some(spec("one")), ..Default::default() };
    client.create_deployment(create).await.unwrap();
    assert_eq!(settled(&mut client).await.rollout.unwrap().state(), v1::RolloutState::Complete);

    let load = Arc::new(Load::default());
    let loading = tokio::spawn(put_load(programs.tasks(), Arc::clone(&load)));
    let update =
        v1::UpdateDeploymentRequest { deployment: "web".to_owned(), spec: Some(spec("two")), ..Default::default() };
    client.update_deployment(update).await.unwrap();
    let after = settled(&mut client).await;
    // Until nothing is left of what was replaced.
    tokio::time::timeout(Duration::from_secs(30), async {
        while load.versions.lock().len() < 2 {
            tokio::time::sleep(KNOWN_FOR).await;
        }
    })
    .await
    .unwrap();
    load.stop.store(true, Ordering::Relaxed);
    loading.await.unwrap();
    assert_eq!((after.rollout.unwrap().state(), after.version), (v1::RolloutState::Complete, 2));
    assert_eq!(*load.errors.lock(), [""; 0]);
    assert!(*load.answered.lock() > 100, "{load:?}");
    assert_eq!(load.versions.lock().iter().map(String::as_str).collect::<Vec<_>>(), ["one", "two"]);
}
