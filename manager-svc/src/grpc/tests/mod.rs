//! Calls of the users' services, without a network: a writer on a store in memory, and the services' own methods.

mod app_placement;
mod apps;
mod backups;
mod configs;
mod deployments;
mod events;
mod explain;
mod fake_scheduler;
mod faults;
mod foreign;
mod jobs;
mod logs;
mod nodes;
mod rebalance;
mod task_lists;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use davit_core::id::NodeId;
use davit_core::node::NodeDescription;
use davit_core::placement::RuntimeKind;
use davit_core::resources::Resources;
use davit_core::task::AttemptStatus;
use davit_proto::v1::task_service_server::TaskService as _;
use davit_proto::{convert, v1};
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use davit_svc_kit::readiness::Readiness;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt as _;

use super::{Api, ClusterApi, ClusterFacts, EventApi, NodeApi, TaskApi};
use crate::commands::{self, Limits, Placement, apply_reports, commit_placements, register_node};
use crate::contacts::Contacts;
use crate::dispatch::{Outbox, Router};
use crate::explainer::SchedulerClient;
use crate::logs::LogRelay;
use crate::placer::{Algorithms, SchedulerStatus};
use crate::state::KeptEvents;
use crate::store::{Fault, FaultyStore, MemoryStore};
use crate::writer::Writer;

const MAX_SPEC_BYTES: u64 = 1 << 20;

/// The services on a cluster of their own.
struct Rig {
    api: Api,
    tasks: TaskApi,
    nodes: NodeApi,
    events: EventApi,
    cluster: ClusterApi,
    fault: Fault,
    shutdown: Shutdown,
}

/// What comes of it, and in how many turns: between two others go on.
async fn in_turns<F: Future>(work: F) -> (F::Output, usize) {
    let (mut work, mut turns) = (pin!(work), 0);
    loop {
        turns += 1;
        if let Poll::Ready(output) = futures::poll!(&mut work) {
            return (output, turns);
        }
    }
}

impl Rig {
    async fn new() -> Self {
        Self::with_kept_events(KeptEvents::default()).await
    }

    async fn with_kept_events(kept: KeptEvents) -> Self {
        // Nobody listens on this port: it is reserved, and not to be had without privileges.
        Self::build(kept, "http://127.0.0.1:1", &[]).await
    }

    async fn with_scheduler(address: &str) -> Self {
        Self::build(KeptEvents::default(), address, &[]).await
    }

    /// With a scheduler that was there once, and had these algorithms.
    async fn with_algorithms(names: &[&str]) -> Self {
        Self::build(KeptEvents::default(), "http://127.0.0.1:1", names).await
    }

    async fn build(kept: KeptEvents, scheduler: &str, algorithms: &[&str]) -> Self {
        let (fault, shutdown) = (Fault::default(), Shutdown::new());
        let store = Arc::new(FaultyStore::new(MemoryStore::default(), fault.clone()));
        let (world, readiness) = (World::real(), Readiness::new());
        let (writer, handle) = Writer::load(store, Router::default(), &world, readiness.clone(), kept).await.unwrap();
        tokio::spawn(writer.run(shutdown.clone()));
        let status = SchedulerStatus {
            address: scheduler.to_owned(),
            connected: false,
            reason: "connection refused".to_owned(),
            algorithms: Algorithms::new(algorithms.iter().map(|name| (*name).to_owned()), "spread"),
        };
        let status = watch::Sender::new(status).subscribe();
        let cluster = ClusterFacts {
            name: "test".to_owned(),
            cluster_id: UuidV7Source.cluster_id(),
            heartbeat_period: Duration::from_secs(1),
            lease_duration: Duration::from_secs(10),
            limits: Limits { max_tasks: 100_000, max_spec_bytes: MAX_SPEC_BYTES },
            scheduler: status.clone(),
        };
        let api = Api {
            writer: handle,
            contacts: Contacts::new(),
            logs: LogRelay::default(),
            cluster,
            scheduler: SchedulerClient::new(status, world.dialer.clone()),
            world,
            shutdown: shutdown.clone(),
            settled: watch::Sender::new(true).subscribe(),
            readiness,
        };
        Self {
            tasks: TaskApi::new(api.clone()),
            nodes: NodeApi::new(api.clone()),
            events: EventApi::new(api.clone()),
            cluster: ClusterApi::new(api.clone()),
            api,
            fault,
            shutdown,
        }
    }

    async fn create(&self, spec: v1::TaskSpec) -> v1::Task {
        let request = v1::CreateTaskRequest { spec: Some(spec), ..Default::default() };
        self.tasks.create_task(Request::new(request)).await.unwrap().into_inner().task.unwrap()
    }

    /// A node joins, with a session.
    async fn join(&self, name: &str) -> (NodeId, Arc<Outbox>) {
        let node_id = UuidV7Source.node_id();
        let registration = registration(node_id, name, 1);
        self.api.writer.write(move |draft| register_node(draft, registration, Duration::from_secs(10))).await.unwrap();
        let session = Arc::new(Outbox::new(UuidV7Source.session_id()));
        self.api.contacts.opened(node_id, Arc::clone(&session), None);
        (node_id, session)
    }

    /// A task is placed, and its worker reports what follows of these states.
    async fn run_on(&self, task_id: &str, node_id: NodeId, states: &[davit_core::state::TaskState]) {
        let task_id = task_id.parse().unwrap();
        let states = states.to_vec();
        let command = move |draft: &mut crate::state::Draft| {
            let key = draft.state().task(task_id).unwrap().key();
            assert_eq!(commit_placements(draft, &[Placement { key, node_id }]).committed, 1);
            for state in states {
                let status = AttemptStatus { state, node_id: Some(node_id), ..AttemptStatus::pending(key.attempt, "") };
                apply_reports(draft, node_id, vec![(task_id, status)]);
            }
            Ok::<(), commands::Error>(())
        };
        self.api.writer.write(command).await.unwrap();
    }
}

/// What a worker without attempts says when it registers.
fn registration(node_id: NodeId, name: &str, registration_number: u64) -> convert::Registration {
    let description = NodeDescription {
        name: name.to_owned(),
        address: "10.0.0.1".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        allocatable: Resources { cpu_millis: 4_000, memory_bytes: 1 << 30, disk_bytes: 1 << 30 },
        capacity: Resources { cpu_millis: 4_000, memory_bytes: 1 << 30, disk_bytes: 1 << 30 },
        runtimes: BTreeSet::from([RuntimeKind::Docker]),
        port_range: None,
        worker_version: "0.1.0".to_owned(),
    };
    convert::Registration {
        node_id,
        registration_number,
        worker_run: None,
        draining: false,
        takes_spec_numbers: true,
        description,
        runtime_problems: BTreeMap::new(),
        attempts: Vec::new(),
    }
}

fn spec(name: &str) -> v1::TaskSpec {
    let container = v1::ContainerSpec { image: "busybox".to_owned(), ..Default::default() };
    v1::TaskSpec {
        name: name.to_owned(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        ..Default::default()
    }
}

fn refused<T>(result: Result<Response<T>, Status>) -> Status {
    match result {
        Ok(_) => panic!("was not refused"),
        Err(status) => status,
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
