use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};
use davit_svc_kit::fuzzing::frame;
use prost_types::FileDescriptorSet;

use super::super::FETCH_FILE;
use super::cluster::{LOG_ID, NODES, TASKS};
use super::*;

const MUTATIONS: usize = 60;

fn spec() -> v1::TaskSpec {
    let container = v1::ContainerSpec {
        image: "busybox:1".to_owned(),
        files: vec![v1::FileGrant { name: "web.conf".to_owned(), ..Default::default() }],
        ports: vec![v1::Port { container_port: 80, protocol: 1, host_port: 8080 }],
        ..Default::default()
    };
    v1::TaskSpec {
        name: "db".to_owned(),
        labels: [("app".to_owned(), "db".to_owned())].into(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        constraints: vec!["disk == ssd".to_owned()],
        ..Default::default()
    }
}

fn batch() -> String {
    "batch".to_owned()
}

fn job(name: &str) -> v1::JobSpec {
    let schedule = v1::JobSchedule {
        cron: "*/5 3 * * 1-5".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        overlap: v1::JobOverlap::Replace.into(),
        start_deadline: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        missed_runs: v1::MissedRuns::Skip.into(),
    };
    v1::JobSpec {
        name: name.to_owned(),
        task: Some(spec()),
        arguments: vec![v1::IndexArguments { values: vec!["--from=0".to_owned()] }; 2],
        parallelism: Some(1),
        schedule: Some(schedule),
        history: Some(v1::JobHistory { succeeded: Some(1), failed: None }),
        ..Default::default()
    }
}

fn deployment(name: &str) -> v1::DeploymentSpec {
    let policy = v1::UpdatePolicy { parallelism: Some(2), order: 2, canaries: 1, ..Default::default() };
    v1::DeploymentSpec {
        name: name.to_owned(),
        mode: Some(v1::deployment_spec::Mode::Replicated(v1::ReplicatedMode { replicas: Some(3) })),
        task: Some(v1::TaskSpec { name: String::new(), ..spec() }),
        update_policy: Some(policy),
        ..Default::default()
    }
}

fn app() -> v1::AppSource {
    let content = "services: {web: {image: 'web:${TAG}', env_file: a.env, deploy: {replicas: 2}}, db: {image: db, profiles: [x]}}";
    v1::AppSource {
        files: vec![v1::ComposeFile { name: "compose.yaml".to_owned(), content: content.to_owned() }],
        variables: [("TAG".to_owned(), "2".to_owned())].into(),
        referenced_files: [("a.env".to_owned(), b"A=1\n".to_vec())].into(),
        default_name: "shop".to_owned(),
        ..Default::default()
    }
}

fn web() -> String {
    "web".to_owned()
}

/// Calls that are accepted, of every method.
fn calls() -> Vec<(&'static str, Vec<u8>)> {
    let (task_id, node) = (TASKS[0].to_owned(), "node-0".to_owned());
    let ended = TASKS[1].to_owned();
    let filter = v1::TaskFilter { name: "web".to_owned(), states: vec![4], node: node.clone(), ..Default::default() };
    let added = v1::NodeOverride {
        node: "new".to_owned(),
        allocatable: Some(v1::Resources { cpu_millis: 1000, memory_bytes: 1 << 30, disk_bytes: 0 }),
        ..Default::default()
    };
    let group = v1::TaskGroup { spec: Some(spec()), count: Some(2), all_or_nothing: true };
    let events = v1::EventFilter { types: vec![1], task_id: task_id.clone(), ..Default::default() };
    let mask = prost_types::FieldMask { paths: vec!["user_labels".to_owned()] };
    let messages = [
        v1::CreateTaskRequest { spec: Some(spec()), request_id: "r-1".to_owned(), validate_only: false }
            .encode_to_vec(),
        v1::BatchCreateTasksRequest { groups: vec![group], ..Default::default() }.encode_to_vec(),
        v1::GetTaskRequest { task_id: task_id.clone() }.encode_to_vec(),
        v1::ListTasksRequest { filter: Some(filter), page_size: 1, ..Default::default() }.encode_to_vec(),
        v1::StopTaskRequest { task_id: task_id.clone() }.encode_to_vec(),
        v1::RestartTaskRequest { task_id: task_id.clone() }.encode_to_vec(),
        v1::DeleteTaskRequest { task_id: ended, force: false }.encode_to_vec(),
        v1::StreamTaskLogsRequest {
            task_id: task_id.clone(),
            follow: true,
            since: Some(prost_types::Timestamp { seconds: 1, nanos: 5 }),
            ..Default::default()
        }
        .encode_to_vec(),
        v1::ExplainTaskRequest { task_id: TASKS[2].to_owned(), max_nodes: 1 }.encode_to_vec(),
        v1::MoveTaskRequest { task_id: task_id.clone(), node: "node-1".to_owned(), ..Default::default() }
            .encode_to_vec(),
        v1::GetNodeRequest { node: NODES[1].to_owned() }.encode_to_vec(),
        v1::ListNodesRequest { page_size: 1, ..Default::default() }.encode_to_vec(),
        v1::UpdateNodeRequest {
            node: node.clone(),
            user_labels: [("zone".to_owned(), "a".to_owned())].into(),
            update_mask: Some(mask),
            ..Default::default()
        }
        .encode_to_vec(),
        v1::CordonNodeRequest { node: node.clone() }.encode_to_vec(),
        v1::UncordonNodeRequest { node: node.clone() }.encode_to_vec(),
        v1::DrainNodeRequest {
            node: node.clone(),
            max_parallel: 2,
            deadline: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            cancel: false,
        }
        .encode_to_vec(),
        v1::RemoveNodeRequest { node: "node-1".to_owned(), force: true }.encode_to_vec(),
        v1::WatchNodeStatsRequest { node }.encode_to_vec(),
        v1::WatchEventsRequest { after_revision: Some(2), filter: Some(events.clone()) }.encode_to_vec(),
        v1::ListEventsRequest { after_revision: 1, filter: Some(events), page_size: 1, ..Default::default() }
            .encode_to_vec(),
        v1::GetClusterRequest {}.encode_to_vec(),
        v1::ExplainPlacementRequest { spec: Some(spec()), count: 3, overrides: vec![added], ..Default::default() }
            .encode_to_vec(),
        v1::PlanRebalanceRequest { max_moves: 5, min_gain: 0.5 }.encode_to_vec(),
        v1::BackupClusterRequest {}.encode_to_vec(),
        v1::CreateDeploymentRequest {
            spec: Some(deployment("cache")),
            request_id: "r-2".to_owned(),
            author: "me".to_owned(),
            validate_only: false,
        }
        .encode_to_vec(),
        v1::GetDeploymentRequest { deployment: web() }.encode_to_vec(),
        v1::ListDeploymentsRequest { page_size: 1, ..Default::default() }.encode_to_vec(),
        v1::UpdateDeploymentRequest { deployment: web(), spec: Some(deployment("web")), ..Default::default() }
            .encode_to_vec(),
        v1::ScaleDeploymentRequest { deployment: web(), replicas: 5, ..Default::default() }.encode_to_vec(),
        v1::RollbackDeploymentRequest { deployment: web(), version: 1, ..Default::default() }.encode_to_vec(),
        v1::PromoteRolloutRequest { deployment: web(), ..Default::default() }.encode_to_vec(),
        v1::PauseRolloutRequest { deployment: web() }.encode_to_vec(),
        v1::ResumeRolloutRequest { deployment: "paused".to_owned(), ..Default::default() }.encode_to_vec(),
        v1::DeleteDeploymentRequest { deployment: web(), ..Default::default() }.encode_to_vec(),
        v1::WatchRolloutRequest { deployment: "paused".to_owned(), through_promotion: true }.encode_to_vec(),
        v1::PlanAppRequest { source: Some(app()), prune: Some(false) }.encode_to_vec(),
        v1::ApplyAppRequest { source: Some(app()), author: "me".to_owned(), ..Default::default() }.encode_to_vec(),
        v1::ListAppsRequest { page_size: 1, ..Default::default() }.encode_to_vec(),
        v1::DeleteAppRequest { app: "there".to_owned() }.encode_to_vec(),
        v1::CreateJobRequest { spec: Some(job("other")), request_id: "r-3".to_owned(), validate_only: false }
            .encode_to_vec(),
        v1::GetJobRequest { job: batch() }.encode_to_vec(),
        v1::ListJobsRequest { page_size: 1, ..Default::default() }.encode_to_vec(),
        v1::UpdateJobRequest { job: batch(), spec: Some(job("batch")), ..Default::default() }.encode_to_vec(),
        v1::RunJobRequest { job: batch(), request_id: "r-4".to_owned() }.encode_to_vec(),
        v1::PauseJobRequest { job: batch() }.encode_to_vec(),
        v1::ResumeJobRequest { job: batch() }.encode_to_vec(),
        v1::StopJobRunRequest { job: batch(), run: 1 }.encode_to_vec(),
        v1::DeleteJobRequest { job: batch(), ..Default::default() }.encode_to_vec(),
        v1::CreateConfigRequest {
            name: "web.conf".to_owned(),
            kind: 1,
            content: b"another".to_vec(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            validate_only: false,
        }
        .encode_to_vec(),
        v1::GetConfigRequest { name: "web.conf".to_owned(), kind: 1, with_content: true, digest: String::new() }
            .encode_to_vec(),
        v1::ListConfigsRequest { kind: 2, page_size: 1, ..Default::default() }.encode_to_vec(),
        v1::DeleteConfigRequest { name: "db".to_owned(), kind: 2 }.encode_to_vec(),
        v1::ListVolumesRequest { page_size: 1, ..Default::default() }.encode_to_vec(),
        v1::DeleteVolumeRequest { volume: "data".to_owned() }.encode_to_vec(),
    ];
    CALLS.into_iter().zip(messages).collect()
}

/// Whole calls of workers.
fn worker_calls() -> Vec<(usize, &'static str, Vec<u8>)> {
    use v1::session_request::Message;
    let framed = |message: Message| frame(&v1::SessionRequest { message: Some(message) }.encode_to_vec()).to_vec();
    let amounts = v1::Resources { cpu_millis: 4000, memory_bytes: 1 << 30, disk_bytes: 1 << 30 };
    let report = |state: v1::TaskState| v1::AttemptReport {
        task_id: TASKS[0].to_owned(),
        attempt: 1,
        sequence: 7,
        status: Some(v1::TaskStatus { state: state.into(), exit_code: Some(3), ..Default::default() }),
    };
    let register = |node_id: &str, name: &str| {
        framed(Message::Register(v1::Register {
            node_id: node_id.to_owned(),
            name: name.to_owned(),
            address: "10.0.0.1".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            capacity: Some(amounts),
            allocatable: Some(amounts),
            runtimes: vec![1, 2],
            worker_version: "0.1.0".to_owned(),
            attempts: vec![report(v1::TaskState::Running)],
            registration_number: 2,
            ..Default::default()
        }))
    };
    let stats = v1::NodeStats {
        measure_time: Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 0 }),
        load_1m: 0.5,
        ..Default::default()
    };
    let sign_of_life = v1::Heartbeat { stats: Some(stats), heartbeat_id: 1 };
    let heartbeat = framed(Message::Heartbeat(sign_of_life));
    let failed = framed(Message::StatusReport(v1::StatusReport {
        report_id: 1,
        reports: vec![report(v1::TaskState::Failed)],
        heartbeat: Some(sign_of_life),
    }));
    let problem = v1::RuntimeProblem { kind: 1, problem: "silent".to_owned(), start_time: None };
    let health = framed(Message::RuntimeHealth(v1::RuntimeHealth { runtimes: vec![2], problems: vec![problem] }));
    let drain = framed(Message::Drain(v1::Drain {}));
    let goodbye = framed(Message::Goodbye(v1::Goodbye { reason: "stopped".to_owned() }));
    let piece = v1::LogPiece { time: None, stream: 1, data: b"text".to_vec() };
    let first = v1::PublishLogsRequest {
        log_id: LOG_ID.to_owned(),
        pieces: vec![piece],
        says_ended: true,
        ..Default::default()
    };
    let last = v1::PublishLogsRequest { error: "gone".to_owned(), gone: true, ..Default::default() };
    vec![
        (0, "known-node", [register(NODES[0], "node-0"), heartbeat.clone(), failed].concat()),
        (0, "new-node", [register(TASKS[0], "other"), heartbeat, health, drain, goodbye].concat()),
        (1, "output", [frame(&first.encode_to_vec()), frame(&last.encode_to_vec())].concat()),
    ]
}

#[test]
fn every_method_is_among_the_calls() {
    let described = FileDescriptorSet::decode(davit_proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut methods = Vec::new();
    for file in described.file {
        for service in
            file.service.iter().filter(|service| !["SchedulerService", "WorkerService"].contains(&service.name()))
        {
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| path(method.name())));
        }
    }
    let mut known: Vec<_> = CALLS.iter().chain(&WORKER_CALLS).map(|call| (*call).to_owned()).collect();
    methods.sort();
    known.sort();
    assert_eq!(methods, known);
    // Room is set apart for it by its name.
    assert!(methods.contains(&format!("/{FETCH_FILE}")));
}

#[test]
fn seeds_are_accepted_where_no_scheduler_is_needed_and_no_mutation_breaks_a_promise() {
    let seeds = seeds("manager_request");
    for seed in &seeds {
        let call = CALLS[usize::from(seed[0])];
        let needs_scheduler =
            ["/ExplainTask", "/ExplainPlacement", "/PlanRebalance"].iter().any(|end| call.ends_with(end));
        assert_eq!(answer(call, &seed[1..]), !needs_scheduler, "{call}");
    }
    assert_eq!(seeds.len(), CALLS.len());
    for_each_mutation(&seeds, MUTATIONS, request);
}

#[test]
fn sessions_begin_and_no_mutation_of_what_workers_send_breaks_a_promise() {
    let seeds = seeds("worker_session");
    for seed in &seeds {
        let call = WORKER_CALLS[usize::from(seed[0])];
        // One that says everything at once and closes may be gone before it is welcomed.
        let answer = serve_worker(call, &seed[1..]);
        assert!(answer.is_ok(), "{call}: {answer:?}");
    }
    for_each_mutation(&seeds, MUTATIONS * 4, session);
}

#[test]
#[ignore = "writes fuzz/corpus/manager_request and worker_session; after a change of the messages"]
fn the_seeds_are_written() {
    for (number, (call, message)) in (0u8..).zip(calls()) {
        let name = call.rsplit('/').next().unwrap();
        write_seed("manager_request", name, &[&[number], message.as_slice()].concat());
    }
    for (call, name, body) in worker_calls() {
        write_seed("worker_session", name, &[&[call as u8], body.as_slice()].concat());
    }
}
