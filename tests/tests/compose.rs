//! The compose cluster, from outside: real images, a real engine, grpcurl and a Python client that is generated on the spot.
//! `cargo xtask test` builds the images and names the tools.

#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test's own helpers may fail the test and say why")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use davit_tests::binaries::free_address;
use davit_tests::grpcurl;
use davit_tests::wait::eventually;

const START: Duration = Duration::from_secs(120);
const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "davit-test/busybox:latest";

/// A compose project of its own. Dropping it takes it down.
struct Project {
    name: String,
    api: SocketAddr,
    http: SocketAddr,
}

impl Project {
    fn up() -> Self {
        let name = format!("davit-test-compose-{}", std::process::id());
        let project = Self { name, api: free_address(), http: free_address() };
        project.compose(&["up", "-d"]);
        project
    }

    fn compose(&self, arguments: &[&str]) -> Output {
        let compose = required("DAVIT_TEST_COMPOSE");
        let mut words = compose.split(' ');
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(["-p", &self.name, "-f"]).arg(root().join("deploy/compose.yaml")).args(arguments);
        command
            .env("DAVIT_CLUSTER", &self.name)
            .env("DAVIT_PUBLISH_GRPC", self.api.port().to_string())
            .env("DAVIT_PUBLISH_HTTP", self.http.port().to_string());
        run(&mut command)
    }

    /// The ids of the running containers of this cluster's tasks.
    fn task_containers(&self) -> BTreeSet<String> {
        containers(&format!("label=dev.davit.cluster={}", self.name))
    }

    fn workers(&self) -> BTreeSet<String> {
        let output = self.compose(&["ps", "-q", "worker"]);
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    async fn call(&self, method: &str, request: &str) -> String {
        let answer = grpcurl::call(self.api, method, request).await;
        assert_eq!(answer.code, 0, "{method} {request}: {}", answer.text);
        answer.text
    }

    /// How many nodes and tasks are listed in a state.
    async fn count(&self, method: &str, filter: &str, field: &str) -> usize {
        let request = format!(r#"{{"filter": {filter}, "pageSize": 1000}}"#);
        self.call(method, &request).await.matches(field).count()
    }

    async fn wait_for_tasks(&self, count: usize, state: &str) {
        eventually(&format!("{count} tasks are {state}"), LIMIT, async || {
            let filter = format!(r#"{{"states": ["{state}"]}}"#);
            let found = self.count("TaskService/ListTasks", &filter, "\"taskId\"").await;
            if found == count { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(&["logs", "--no-color", "--tail", "60"]);
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        self.compose(&["down", "-v", "--timeout", "30"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_runs_containers_on_three_nodes_with_grpcurl_and_python() {
    let project = Project::up();
    eventually("three nodes are READY", START, async || {
        let answer = grpcurl::call(project.api, "NodeService/ListNodes", r#"{"filter": {"states": [1]}}"#).await;
        match answer.text.matches("\"nodeId\"").count() {
            3 => Ok(()),
            _ => Err(answer.text),
        }
    })
    .await;

    let services = grpcurl::ask(project.api, &["list"]).await.text;
    for service in ["davit.v1.TaskService", "davit.v1.NodeService", "davit.v1.EventService", "grpc.health.v1.Health"] {
        assert!(services.contains(service), "{services}");
    }
    let described = grpcurl::ask(project.api, &["describe", "davit.v1.TaskSpec"]).await.text;
    assert!(described.contains("message TaskSpec"), "{described}");

    // 30 containers, on all three nodes, and the engine agrees.
    let spec = format!(
        r#"{{"name": "sleeper", "container": {{"image": "{IMAGE}", "command": ["sleep", "600"], "pullPolicy": 3}},
            "stopPolicy": {{"signal": "SIGKILL"}}}}"#
    );
    let created = project
        .call("TaskService/BatchCreateTasks", &format!(r#"{{"groups": [{{"spec": {spec}, "count": 30}}]}}"#))
        .await;
    project.wait_for_tasks(30, "TASK_STATE_RUNNING").await;
    assert_eq!(project.task_containers().len(), 30);
    let listed = project.call("TaskService/ListTasks", r#"{"pageSize": 1000}"#).await;
    assert_eq!(values_of(&listed, "nodeId").len(), 3, "{listed}");

    // A Python client with stubs from the .proto files does the same and watches events.
    let python = run(Command::new(required("DAVIT_TEST_PYTHON"))
        .arg(root().join("examples/python/client.py"))
        .args(["--manager", &project.api.to_string(), "--image", IMAGE, "--count", "6"])
        .args(["--pull-policy", "PULL_POLICY_NEVER"]));
    let told = String::from_utf8_lossy(&python.stdout);
    assert!(told.contains("refused: INVALID_ARGUMENT") && told.contains("spec.name"), "{told}");
    assert_eq!(told.matches("TASK_STATE_RUNNING").count(), 6, "{told}");
    assert!(told.contains("all stopped and deleted"), "{told}");

    // A worker dies: its tasks move. Its containers live on until it is back and learns that they are outdated.
    let killed = project.workers().into_iter().next().expect("a worker");
    run(Command::new("docker").args(["kill", &killed]));
    eventually("one node is DOWN", LIMIT, async || {
        match project.count("NodeService/ListNodes", r#"{"states": ["NODE_STATE_DOWN"]}"#, "\"nodeId\"").await {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    project.wait_for_tasks(30, "TASK_STATE_RUNNING").await;
    let listed = project.call("TaskService/ListTasks", r#"{"pageSize": 1000}"#).await;
    assert!(listed.contains("\"attempt\": 2"), "{listed}");
    run(Command::new("docker").args(["start", &killed]));
    eventually("the old attempts' containers are gone", LIMIT, async || match project.task_containers().len() {
        30 => Ok(()),
        other => Err(other),
    })
    .await;

    // Stopped, then deleted, by grpcurl: nothing is left over.
    let ids = values_of(&created, "taskIds");
    assert_eq!(ids.len(), 30, "{created}");
    for task_id in &ids {
        project.call("TaskService/StopTask", &format!(r#"{{"taskId": "{task_id}"}}"#)).await;
    }
    project.wait_for_tasks(30, "TASK_STATE_STOPPED").await;
    assert!(project.task_containers().is_empty(), "what is STOPPED runs no more");
    for task_id in &ids {
        project.call("TaskService/DeleteTask", &format!(r#"{{"taskId": "{task_id}"}}"#)).await;
    }
    eventually("nothing is left over", LIMIT, async || {
        let left = all_containers(&format!("label=dev.davit.cluster={}", project.name));
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let cluster = project.call("ClusterService/GetCluster", "{}").await;
    assert!(!cluster.contains("\"tasks\""), "{cluster}");
}

/// All different values of a string field, or of a list of strings, in grpcurl's JSON.
fn values_of(json: &str, field: &str) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    let mut in_list = false;
    for line in json.lines().map(str::trim) {
        let value = if let Some(rest) = line.strip_prefix(&format!("\"{field}\":")) {
            in_list = rest.trim() == "[";
            rest
        } else if in_list {
            in_list = !line.starts_with(']');
            line
        } else {
            continue;
        };
        let value = value.trim().trim_end_matches(',').trim_matches('"');
        if value.len() == 36 {
            values.insert(value.to_owned());
        }
    }
    values
}

fn containers(filter: &str) -> BTreeSet<String> {
    lines(&run(Command::new("docker").args(["ps", "-q", "--filter", filter])))
}

fn all_containers(filter: &str) -> BTreeSet<String> {
    lines(&run(Command::new("docker").args(["ps", "-a", "-q", "--filter", filter])))
}

fn lines(output: &Output) -> BTreeSet<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|problem| panic!("{command:?}: {problem}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{told}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    output
}

fn required(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; `cargo xtask test` sets it"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
