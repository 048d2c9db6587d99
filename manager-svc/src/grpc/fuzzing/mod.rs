//! Calls of users and sessions of workers, from the bytes of a body to the answer, on a small cluster that is the same for
//! every input.

pub(crate) mod cluster;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use davit_core::spec::{RuntimeSpec, TaskSpec};
use davit_proto::{convert, v1};
use davit_svc_kit::fuzzing::{Answer, frame};
use prost::Message as _;
use prost::bytes::Bytes;

use self::cluster::Cluster;

/// The calls that users make. An input's first byte says which: only ever append.
const CALLS: [&str; 54] = [
    "/davit.v1.TaskService/CreateTask",
    "/davit.v1.TaskService/BatchCreateTasks",
    "/davit.v1.TaskService/GetTask",
    "/davit.v1.TaskService/ListTasks",
    "/davit.v1.TaskService/StopTask",
    "/davit.v1.TaskService/RestartTask",
    "/davit.v1.TaskService/DeleteTask",
    "/davit.v1.TaskService/StreamTaskLogs",
    "/davit.v1.TaskService/ExplainTask",
    "/davit.v1.TaskService/MoveTask",
    "/davit.v1.NodeService/GetNode",
    "/davit.v1.NodeService/ListNodes",
    "/davit.v1.NodeService/UpdateNode",
    "/davit.v1.NodeService/CordonNode",
    "/davit.v1.NodeService/UncordonNode",
    "/davit.v1.NodeService/DrainNode",
    "/davit.v1.NodeService/RemoveNode",
    "/davit.v1.NodeService/WatchNodeStats",
    "/davit.v1.EventService/WatchEvents",
    "/davit.v1.EventService/ListEvents",
    "/davit.v1.ClusterService/GetCluster",
    "/davit.v1.ClusterService/ExplainPlacement",
    "/davit.v1.ClusterService/PlanRebalance",
    "/davit.v1.ClusterService/BackupCluster",
    "/davit.v1.DeploymentService/CreateDeployment",
    "/davit.v1.DeploymentService/GetDeployment",
    "/davit.v1.DeploymentService/ListDeployments",
    "/davit.v1.DeploymentService/UpdateDeployment",
    "/davit.v1.DeploymentService/ScaleDeployment",
    "/davit.v1.DeploymentService/RollbackDeployment",
    "/davit.v1.DeploymentService/PromoteRollout",
    "/davit.v1.DeploymentService/PauseRollout",
    "/davit.v1.DeploymentService/ResumeRollout",
    "/davit.v1.DeploymentService/DeleteDeployment",
    "/davit.v1.DeploymentService/WatchRollout",
    "/davit.v1.DeploymentService/PlanApp",
    "/davit.v1.DeploymentService/ApplyApp",
    "/davit.v1.DeploymentService/ListApps",
    "/davit.v1.DeploymentService/DeleteApp",
    "/davit.v1.JobService/CreateJob",
    "/davit.v1.JobService/GetJob",
    "/davit.v1.JobService/ListJobs",
    "/davit.v1.JobService/UpdateJob",
    "/davit.v1.JobService/RunJob",
    "/davit.v1.JobService/PauseJob",
    "/davit.v1.JobService/ResumeJob",
    "/davit.v1.JobService/StopJobRun",
    "/davit.v1.JobService/DeleteJob",
    "/davit.v1.ConfigService/CreateConfig",
    "/davit.v1.ConfigService/GetConfig",
    "/davit.v1.ConfigService/ListConfigs",
    "/davit.v1.ConfigService/DeleteConfig",
    "/davit.v1.VolumeService/ListVolumes",
    "/davit.v1.VolumeService/DeleteVolume",
];
/// The calls that workers make: likewise.
const WORKER_CALLS: [&str; 3] = [
    "/davit.v1.WorkerSessionService/Session",
    "/davit.v1.WorkerSessionService/PublishLogs",
    "/davit.v1.WorkerSessionService/FetchFile",
];
/// A batch may be larger; one that is accepted only takes longer then.
const MAX_BATCH_TASKS: u64 = 64;

thread_local! {
    static CLUSTER: RefCell<Option<Cluster>> = const { RefCell::new(None) };
}

/// A call of a user: a byte that says which, then its message.
///
/// # Panics
/// When the answer is an error that is of no use to a client, when a refused call changed something, or when a task that was
/// created has another spec than was asked for.
pub fn request(bytes: &[u8]) {
    let Some((call, message)) = bytes.split_first() else { return };
    let call = CALLS[usize::from(*call) % CALLS.len()];
    if call.ends_with("/BatchCreateTasks") && is_long_batch(message) {
        return;
    }
    answer(call, message);
}

/// As [`request`], of the call at this path. Says whether it was accepted.
fn answer(call: &str, message: &[u8]) -> bool {
    with_cluster(|cluster| {
        let (answer, changed) = cluster.call(call, frame(message));
        answer.assert_useful();
        assert!(answer.is_ok() || !changed, "{call} was refused, and changed something all the same");
        if let Some(response) = answer.messages.first().filter(|_| call.ends_with("/CreateTask")) {
            check_created(message, response);
        }
        answer.is_ok()
    })
}

/// What a worker sends: a byte that says on which call, then the call's body as it comes over the network, with any number of
/// messages.
///
/// # Panics
/// When a call does not end though its worker has gone, or ends with an error that is of no use to a worker.
pub fn session(bytes: &[u8]) {
    let Some((call, body)) = bytes.split_first() else { return };
    serve_worker(WORKER_CALLS[usize::from(*call) % WORKER_CALLS.len()], body);
}

fn serve_worker(call: &str, body: &[u8]) -> Answer {
    with_cluster(|cluster| {
        let (answer, _) = cluster.call(call, Bytes::copy_from_slice(body));
        assert!(answer.status.is_some(), "{call} does not end");
        answer.assert_useful();
        if call.ends_with("/Session") {
            for message in &answer.messages {
                let read = v1::SessionResponse::decode(message.clone());
                assert!(read.is_ok(), "a worker can't read {message:?}");
            }
        }
        answer
    })
}

fn with_cluster<T>(run: impl FnOnce(&mut Cluster) -> T) -> T {
    CLUSTER.with_borrow_mut(|cluster| run(cluster.get_or_insert_with(Cluster::new)))
}

fn is_long_batch(message: &[u8]) -> bool {
    let Ok(batch) = v1::BatchCreateTasksRequest::decode(message) else { return false };
    let count: u64 = batch.groups.iter().map(|group| u64::from(group.count.unwrap_or(1))).sum();
    (MAX_BATCH_TASKS + 1..=u64::from(convert::MAX_BATCH_TASKS)).contains(&count)
}

/// A task that was created has the spec that was asked for, and that can be asked for again.
fn check_created(request: &[u8], response: &[u8]) {
    let read = |spec: Option<v1::TaskSpec>| {
        let mut violations = davit_core::validate::Violations::new();
        let spec = spec.and_then(|spec| convert::task_spec_from_proto(spec, "spec", &mut violations));
        assert!(spec.is_some(), "an accepted spec is refused when it is read again: {violations}");
        spec
    };
    let asked = v1::CreateTaskRequest::decode(request).ok().and_then(|request| request.spec);
    let created = v1::CreateTaskResponse::decode(response).ok().and_then(|response| response.task?.spec);
    let (mut asked, created) = (read(asked), read(created));
    if let (Some(asked), Some(created)) = (&mut asked, &created) {
        name_versions(asked, created);
    }
    assert_eq!(asked, created);
}

/// Has a spec name the versions of configs that another got where it named none.
fn name_versions(asked: &mut TaskSpec, created: &TaskSpec) {
    let RuntimeSpec::Container(container) = &mut asked.runtime else { return };
    for (grant, got) in container.files.iter_mut().zip(created.files()) {
        grant.digest = grant.digest.or(got.digest);
    }
}
