//! Bad input by grpcurl: each gets the right code, an ErrorInfo and, where a field is wrong, its path; and changes nothing.

use davit_tests::cluster::Cluster;
use davit_tests::grpcurl;
use tonic::Code;

/// One call that must be refused.
struct Row {
    method: &'static str,
    request: String,
    code: Code,
    /// What the answer must hold: field paths for wrong fields, else an ErrorInfo reason.
    holds: &'static str,
}

fn row(method: &'static str, request: impl Into<String>, code: Code, holds: &'static str) -> Row {
    Row { method, request: request.into(), code, holds }
}

/// A request to create a task from a valid container spec with something added.
fn container(extra: &str) -> String {
    format!(r#"{{"spec": {{"name": "t", "container": {{"image": "busybox"{extra}}}}}}}"#)
}

/// The same with something added beside the container.
fn spec(extra: &str) -> String {
    format!(r#"{{"spec": {{"name": "t", "container": {{"image": "busybox"}}{extra}}}}}"#)
}

fn wrong_specs() -> Vec<Row> {
    let create = "TaskService/CreateTask";
    let wrong = |request: String, path| row(create, request, Code::InvalidArgument, path);
    vec![
        wrong("{}".into(), "spec"),
        wrong(r#"{"spec": {}}"#.into(), "spec.name"),
        wrong(r#"{"spec": {"name": "t"}}"#.into(), "spec\""),
        wrong(r#"{"spec": {"name": "no spaces", "container": {"image": "busybox"}}}"#.into(), "spec.name"),
        wrong(format!(r#"{{"spec": {{"name": "{}", "container": {{"image": "b"}}}}}}"#, "a".repeat(64)), "spec.name"),
        wrong(r#"{"spec": {"name": "t", "container": {}}}"#.into(), "spec.container.image"),
        wrong(r#"{"spec": {"name": "t", "container": {"image": "Not An Image"}}}"#.into(), "spec.container.image"),
        wrong(r#"{"spec": {"name": "t", "container": {"image": "a:"}}}"#.into(), "spec.container.image"),
        wrong(r#"{"spec": {"name": "t", "process": {}}}"#.into(), "spec.process.command"),
        wrong(r#"{"spec": {"name": "t", "process": {"command": [""]}}}"#.into(), "spec.process.command"),
        wrong(container(r#", "workingDir": "relative""#), "spec.container.working_dir"),
        wrong(container(r#", "env": {"A=B": "x"}"#), "spec.container.env"),
        wrong(container(r#", "pullPolicy": 7"#), "spec.container.pull_policy"),
        wrong(container(r#", "ports": [{"containerPort": 0}]"#), "spec.container.ports[0].container_port"),
        wrong(container(r#", "ports": [{"containerPort": 70000}]"#), "spec.container.ports[0].container_port"),
        wrong(container(r#", "ports": [{"containerPort": 80, "protocol": 9}]"#), "spec.container.ports[0].protocol"),
        wrong(
            container(
                r#", "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8080}]"#,
            ),
            "spec.container.ports[1]",
        ),
        wrong(container(r#", "mounts": [{"target": "/x"}]"#), "spec.container.mounts[0]"),
        wrong(container(r#", "mounts": [{"bindPath": "x", "target": "/x"}]"#), "spec.container.mounts[0].bind_path"),
        wrong(container(r#", "mounts": [{"volumeName": "v", "target": "x"}]"#), "spec.container.mounts[0].target"),
        wrong(container(r#", "tmpfs": [{"target": "/a"}, {"target": "/a"}]"#), "spec.container.tmpfs[1].target"),
        wrong(container(r#", "capAdd": ["FLY"]"#), "spec.container.cap_add[0]"),
        wrong(container(r#", "ulimits": [{"name": "nofile", "soft": 9, "hard": 1}]"#), "spec.container.ulimits[0]"),
        wrong(container(r#", "user": "a b""#), "spec.container.user"),
        wrong(container(r#", "hostname": "a b""#), "spec.container.hostname"),
        wrong(container(r#", "extraHosts": [{"name": "a", "address": "b"}]"#), "spec.container.extra_hosts[0].address"),
        wrong(container(r#", "logBounds": {"maxFileBytes": "1"}"#), "spec.container.log_bounds.max_file_bytes"),
        wrong(spec(r#", "labels": {"bad key": "x"}"#), "spec.labels"),
        wrong(spec(r#", "constraints": ["disk ~= ssd"]"#), "spec.constraints[0]"),
        wrong(spec(r#", "constraints": ["ok exists", ""]"#), "spec.constraints[1]"),
        wrong(spec(r#", "resources": {"limit": {"memoryBytes": 1048576}}"#), "spec.resources.limit.memory_bytes"),
        wrong(
            spec(r#", "resources": {"reservation": {"cpuMillis": 200}, "limit": {"cpuMillis": 100}}"#),
            "spec.resources.limit.cpu_millis",
        ),
        wrong(
            spec(r#", "resources": {"reservation": {"memoryBytes": "18446744073709551615"}}"#),
            "spec.resources.reservation.memory_bytes",
        ),
        wrong(spec(r#", "resources": {"limit": {"diskBytes": 1}}"#), "spec.resources.limit.disk_bytes"),
        wrong(spec(r#", "restartPolicy": {"mode": 44}"#), "spec.restart_policy.mode"),
        wrong(spec(r#", "restartPolicy": {"initialDelay": "-5s"}"#), "spec.restart_policy.initial_delay"),
        wrong(spec(r#", "restartPolicy": {"initialDelay": "10s", "maxDelay": "1s"}"#), "spec.restart_policy.max_delay"),
        wrong(spec(r#", "healthCheck": {}"#), "spec.health_check"),
        wrong(spec(r#", "healthCheck": {"http": {"path": "/"}}"#), "spec.health_check.http.port"),
        wrong(spec(r#", "healthCheck": {"tcp": {"port": 1}, "interval": "0.01s"}"#), "spec.health_check.interval"),
        wrong(spec(r#", "stopPolicy": {"signal": "SIGFOO"}"#), "spec.stop_policy.signal"),
        wrong(spec(r#", "stopPolicy": {"grace": "7200s"}"#), "spec.stop_policy.grace"),
        wrong(spec(r#", "onNodeLoss": {"action": 2}"#), "spec.on_node_loss.wait"),
        wrong(spec(r#", "onNodeLoss": {"action": 1, "wait": "5s"}"#), "spec.on_node_loss.wait"),
        // Everything at once, each with its path.
        wrong(
            r#"{"spec": {"name": "", "container": {"image": "B", "ports": [{}]}}}"#.into(),
            "spec.container.ports[0]",
        ),
    ]
}

/// A creation of a deployment with a task, and this.
fn deployment(more: &str, path: &'static str) -> Row {
    let task = if more.starts_with(r#""task""#) { "" } else { r#""task": {"container": {"image": "b"}}, "# };
    let request = format!(r#"{{"spec": {{"name": "web", {task}{more}}}}}"#);
    row("DeploymentService/CreateDeployment", request, Code::InvalidArgument, path)
}

fn wrong_calls() -> Vec<Row> {
    let nobody = r#"{"deployment": "nobody"}"#;
    let long = "x".repeat(200);
    let unknown = r#"{"taskId": "01a21029-883f-7173-9fa6-28c580f039e7"}"#;
    let invalid = Code::InvalidArgument;
    vec![
        row("TaskService/CreateTask", format!(r#"{{"spec": {{}}, "requestId": "{long}"}}"#), invalid, "request_id"),
        row("TaskService/BatchCreateTasks", "{}", invalid, "groups"),
        row(
            "TaskService/BatchCreateTasks",
            r#"{"groups": [{"spec": {"name": "t", "container": {"image": "b"}}, "count": 0}]}"#,
            invalid,
            "groups[0].count",
        ),
        row(
            "TaskService/BatchCreateTasks",
            r#"{"groups": [{"spec": {"name": "t", "container": {"image": "b"}}, "count": 10001}]}"#,
            invalid,
            "groups",
        ),
        row("TaskService/GetTask", r#"{"taskId": "nonsense"}"#, invalid, "task_id"),
        row("TaskService/GetTask", "{}", invalid, "task_id"),
        row("TaskService/GetTask", unknown, Code::NotFound, "TASK_NOT_FOUND"),
        row("TaskService/StopTask", unknown, Code::NotFound, "TASK_NOT_FOUND"),
        row("TaskService/RestartTask", unknown, Code::NotFound, "TASK_NOT_FOUND"),
        row("TaskService/DeleteTask", unknown, Code::NotFound, "TASK_NOT_FOUND"),
        row("TaskService/StreamTaskLogs", unknown, Code::NotFound, "TASK_NOT_FOUND"),
        row("TaskService/ListTasks", r#"{"pageSize": 5000}"#, invalid, "page_size"),
        row("TaskService/ListTasks", r#"{"pageToken": "garbage"}"#, invalid, "page_token"),
        row("TaskService/ListTasks", r#"{"filter": {"states": [77]}}"#, invalid, "filter.states[0]"),
        row("DeploymentService/CreateDeployment", "{}", invalid, "spec"),
        row("DeploymentService/CreateDeployment", r#"{"spec": {"name": "a b"}}"#, invalid, "spec.name"),
        row("DeploymentService/CreateDeployment", r#"{"spec": {"name": "a", "task": {}}}"#, invalid, "spec.task"),
        deployment(r#""task": {"container": {"image": "B"}}"#, "spec.task.container.image"),
        deployment(r#""replicated": {"replicas": 100001}"#, "spec.replicated.replicas"),
        deployment(r#""labels": {"bad key": "x"}"#, "spec.labels"),
        deployment(r#""keptVersions": 0"#, "spec.kept_versions"),
        deployment(r#""updatePolicy": {"order": 7}"#, "spec.update_policy.order"),
        deployment(r#""updatePolicy": {"onFailure": 7}"#, "spec.update_policy.on_failure"),
        deployment(r#""updatePolicy": {"delay": "-1s"}"#, "spec.update_policy.delay"),
        deployment(r#""updatePolicy": {"maxFailureRatio": 1.5}"#, "spec.update_policy.max_failure_ratio"),
        deployment(r#""updatePolicy": {"maxFailureRatio": "NaN"}"#, "spec.update_policy.max_failure_ratio"),
        deployment(r#""updatePolicy": {"progressDeadline": "5s"}"#, "spec.update_policy.progress_deadline"),
        deployment(r#""rollbackPolicy": {"progressDeadline": "0s"}"#, "spec.rollback_policy.progress_deadline"),
        row("DeploymentService/GetDeployment", "{}", invalid, "deployment"),
        row("DeploymentService/GetDeployment", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/ScaleDeployment", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row(
            "DeploymentService/ScaleDeployment",
            r#"{"deployment": "nobody", "replicas": 100001}"#,
            invalid,
            "replicas",
        ),
        row("DeploymentService/RollbackDeployment", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/PromoteRollout", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/PauseRollout", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/ResumeRollout", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/DeleteDeployment", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/WatchRollout", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/UpdateDeployment", nobody, Code::NotFound, "DEPLOYMENT_NOT_FOUND"),
        row("DeploymentService/UpdateDeployment", "{}", invalid, "spec"),
        row("DeploymentService/WatchRollout", "{}", invalid, "deployment"),
        row("DeploymentService/ListDeployments", r#"{"filter": {"states": [0]}}"#, invalid, "filter.states[0]"),
        row("NodeService/GetNode", r#"{"node": "nobody"}"#, Code::NotFound, "NODE_NOT_FOUND"),
        row("NodeService/GetNode", "{}", invalid, "node"),
        row("NodeService/CordonNode", r#"{"node": "nobody"}"#, Code::NotFound, "NODE_NOT_FOUND"),
        row("NodeService/DrainNode", r#"{"node": "nobody"}"#, Code::NotFound, "NODE_NOT_FOUND"),
        row("NodeService/DrainNode", r#"{"node": "x", "maxParallel": 1001}"#, invalid, "max_parallel"),
        row("NodeService/DrainNode", r#"{"node": "x", "deadline": "-1s"}"#, invalid, "deadline"),
        row("NodeService/DrainNode", r#"{"node": "x", "cancel": true, "deadline": "1s"}"#, invalid, "deadline"),
        row("NodeService/RemoveNode", r#"{"node": "nobody"}"#, Code::NotFound, "NODE_NOT_FOUND"),
        row("NodeService/RemoveNode", "{}", invalid, "node"),
        row("NodeService/ListNodes", r#"{"pageToken": "garbage"}"#, invalid, "page_token"),
        row("VolumeService/ListVolumes", r#"{"pageToken": "garbage"}"#, invalid, "page_token"),
        row("VolumeService/ListVolumes", r#"{"filter": {"node": "nobody"}}"#, Code::NotFound, "NODE_NOT_FOUND"),
        row("VolumeService/DeleteVolume", r#"{"volume": "nothing"}"#, Code::NotFound, "VOLUME_NOT_FOUND"),
        row("VolumeService/DeleteVolume", "{}", invalid, "volume"),
        row("NodeService/UpdateNode", r#"{"node": "nobody", "userLabels": {"bad key": "x"}}"#, invalid, "user_labels"),
        row("EventService/ListEvents", r#"{"pageSize": 5000}"#, invalid, "page_size"),
        row("EventService/WatchEvents", r#"{"filter": {"types": [99]}}"#, invalid, "filter.types[0]"),
        row("EventService/WatchEvents", r#"{"filter": {"taskId": "x"}}"#, invalid, "filter.task_id"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_answered_with_what_is_wrong_and_where() {
    let cluster = Cluster::builder().workers(0).start().await;
    let mut problems = Vec::new();
    for Row { method, request, code, holds } in wrong_specs().into_iter().chain(wrong_calls()) {
        let answer = grpcurl::call(cluster.manager_address(), method, &request).await;
        let shown: String = request.chars().take(160).collect();
        if answer.code != code as i32 {
            problems.push(format!("{method} {shown}: code {} instead of {code:?}: {}", answer.code, answer.text));
        } else if !answer.text.contains("google.rpc.ErrorInfo") {
            problems.push(format!("{method} {shown}: no ErrorInfo: {}", answer.text));
        } else if code == Code::InvalidArgument && !answer.text.contains(&format!("\"field\":\"{holds}")) {
            problems.push(format!("{method} {shown}: `{holds}` is not named: {}", answer.text));
        } else if !answer.text.contains(holds) {
            problems.push(format!("{method} {shown}: `{holds}` is not in: {}", answer.text));
        }
    }
    assert!(problems.is_empty(), "{} calls went wrong:\n{}", problems.len(), problems.join("\n"));
    let listed = grpcurl::call(cluster.manager_address(), "ClusterService/GetCluster", "{}").await;
    assert!(!listed.text.contains("\"tasks\""), "bad input created something: {}", listed.text);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_5_mb_is_refused_and_the_manager_goes_on() {
    let cluster = Cluster::builder().workers(0).start().await;
    let value = "x".repeat(5 * 1024 * 1024);
    let request =
        format!(r#"{{"spec": {{"name": "t", "labels": {{"a": "{value}"}}, "container": {{"image": "b"}}}}}}"#);
    let answer = grpcurl::call(cluster.manager_address(), "TaskService/CreateTask", &request).await;
    assert_eq!(answer.code, Code::ResourceExhausted as i32, "{}", answer.text);
    assert!(answer.text.contains("google.rpc.ErrorInfo"), "{}", answer.text);
    let answer = grpcurl::call(cluster.manager_address(), "ClusterService/GetCluster", "{}").await;
    assert_eq!(answer.code, 0, "{}", answer.text);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_task_can_not_be_stopped_and_a_running_one_not_deleted() {
    let cluster = Cluster::builder().workers(1).start().await;
    let finished = cluster.create_task(&[("fake.run_for_ms", "1")]).await;
    cluster.wait_for_state(&finished, davit_proto::v1::TaskState::Completed).await;
    let running = cluster.create_task(&[]).await;
    cluster.wait_for_state(&running, davit_proto::v1::TaskState::Running).await;
    for (method, task_id, reason) in [
        ("TaskService/StopTask", &finished, "TASK_HAS_ENDED"),
        ("TaskService/DeleteTask", &running, "TASK_HAS_NOT_ENDED"),
    ] {
        let request = format!(r#"{{"taskId": "{task_id}"}}"#);
        let answer = grpcurl::call(cluster.manager_address(), method, &request).await;
        assert_eq!(answer.code, Code::FailedPrecondition as i32, "{}", answer.text);
        assert!(answer.text.contains(reason) && answer.text.contains("PreconditionFailure"), "{}", answer.text);
    }
    let request = format!(r#"{{"taskId": "{finished}", "attempt": 9}}"#);
    let answer = grpcurl::call(cluster.manager_address(), "TaskService/StreamTaskLogs", &request).await;
    assert!(answer.code != 0 && answer.text.contains("google.rpc.ErrorInfo"), "{}", answer.text);
    cluster.stop().await;
}
