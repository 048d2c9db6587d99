//! The services as an operator meets them: settings that are checked, signals that are obeyed.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event_service_client::EventServiceClient;
use davit_proto::v1::node_service_client::NodeServiceClient;
use davit_proto::v1::task_service_client::TaskServiceClient;
use davit_tests::binaries::{Service, path_of};
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;

const SERVICES: [&str; 3] = ["davit-manager", "davit-scheduler", "davit-worker"];

fn refused(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new(path_of(name))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|problem| panic!("{name}: {problem}"));
    let Output { status, stderr, .. } = output;
    let told = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "{name} {arguments:?} {environment:?} was accepted: {told}");
    told
}

#[test]
fn a_wrong_setting_is_named_whether_by_flag_environment_or_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "listen = \"127.0.0.1:0\"\nlisten-where = \"here\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    for name in SERVICES {
        let told = refused(name, &["--listen", "nowhere"], &[]);
        assert!(told.contains("--listen") && told.contains("nowhere"), "{name}: {told}");
        let told = refused(name, &[], &[("DAVIT_HTTP_LISTEN", "1.2.3.4:99999999")]);
        assert!(told.contains("http-listen"), "{name}: {told}");
        let told = refused(name, &["--config", path], &[]);
        assert!(told.contains("listen-where") && told.contains('2'), "{name}: {told}");
        let told = refused(name, &["--log", "a=b=c"], &[]);
        assert!(told.contains("log") && told.contains("a=b=c"), "{name}: {told}");
    }
    let told = refused("davit-manager", &[], &[("DAVIT_HEARTBEAT_PERIOD", "0s")]);
    assert!(told.contains("heartbeat-period"), "{told}");
    let told = refused("davit-worker", &["--name", "no spaces"], &[]);
    assert!(told.contains("name"), "{told}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data_dir = tempfile::tempdir().unwrap();
    for name in SERVICES {
        let mut arguments = vec!["--listen", &address, "--http-listen", "127.0.0.1:0"];
        if name != "davit-scheduler" {
            arguments.extend(["--data-dir", data_dir.path().to_str().unwrap()]);
        }
        let told = refused(name, &arguments, &[]);
        assert!(told.contains(&address) && told.contains("listen"), "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_stops_in_good_order_on_sigterm_while_streams_are_open() {
    let scheduler = Service::start("davit-scheduler", &[]);
    let arguments =
        ["--scheduler".to_owned(), scheduler.address.to_string(), "--cluster".to_owned(), "davit-test".to_owned()];
    let manager = Service::start("davit-manager", &arguments);
    let data_dir = WorkerDir::new();
    let arguments = [
        "--manager".to_owned(),
        manager.address.to_string(),
        "--data-dir".to_owned(),
        data_dir.path().display().to_string(),
        "--docker".to_owned(),
        "off".to_owned(),
        "--process-runtime".to_owned(),
        "true".to_owned(),
        "--stop-tasks-on-shutdown".to_owned(),
        "true".to_owned(),
        "--name".to_owned(),
        "node".to_owned(),
    ];
    let worker = Service::start("davit-worker", &arguments);
    for service in [&scheduler, &manager, &worker] {
        service.ready().await;
    }
    let channel = davit_svc_kit::client::endpoint(&manager.address.to_string()).unwrap().connect_lazy();
    let mut events = EventServiceClient::new(channel.clone());
    let mut watch = events.watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
    let mut tasks = TaskServiceClient::new(channel.clone());
    let process = v1::ProcessSpec { command: vec!["sleep".into(), "600".into()], ..Default::default() };
    let runtime = Some(v1::task_spec::Runtime::Process(process));
    let spec = Some(v1::TaskSpec { name: "sleeper".into(), runtime, ..Default::default() });
    let task = tasks.create_task(v1::CreateTaskRequest { spec, ..Default::default() }).await.unwrap().into_inner();
    let task_id = task.task.unwrap().task_id;
    eventually("the task runs", Duration::from_secs(20), async || {
        let got = tasks.clone().get_task(v1::GetTaskRequest { task_id: task_id.clone() }).await.unwrap();
        let status = got.into_inner().task.unwrap().status.unwrap();
        if status.state() == v1::TaskState::Running { Ok(()) } else { Err(status) }
    })
    .await;
    let request = v1::StreamTaskLogsRequest { task_id, follow: true, ..Default::default() };
    let _logs = tasks.stream_task_logs(request).await.unwrap().into_inner();

    assert!(worker.terminate().await.success());
    let mut nodes = NodeServiceClient::new(channel.clone());
    // Long before three heartbeats are missing, since it said goodbye.
    eventually("the node is DOWN", Duration::from_secs(2), async || {
        let got = nodes.get_node(v1::GetNodeRequest { node: "node".into() }).await.unwrap();
        let node = got.into_inner().node.unwrap();
        if node.state() == v1::NodeState::Down { Ok(()) } else { Err(node.state_reason) }
    })
    .await;
    assert!(scheduler.terminate().await.success());
    assert!(manager.terminate().await.success());
    // The watch was told that the manager stops.
    let last = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(last.code(), tonic::Code::Unavailable, "{last:?}");
}
