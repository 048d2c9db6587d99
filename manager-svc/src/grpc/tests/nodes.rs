//! Nodes and the cluster as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::node::{NodeState, NodeStats};
use davit_core::state::TaskState;
use davit_proto::v1;
use davit_proto::v1::cluster_service_server::ClusterService as _;
use davit_proto::v1::node_service_server::NodeService as _;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};
use futures::StreamExt as _;
use tonic::{Code, Request};

use super::{Rig, fields, reason, refused, registration, spec};
use crate::commands::test_support::{Cluster, LEASE, node_id};
use crate::commands::{self, Registered, note_away, register_node};
use crate::contacts::Contacts;
use crate::dispatch::{Delivery, Outbox};
use crate::grpc::session_writes::SessionWrites;
use crate::grpc::worker_session_service;
use crate::health;
use crate::reconcile::away_for;
use crate::state::Draft;

fn labels(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("zone".to_owned(), value.to_owned())])
}

fn stats(cpu_used_millis: u64) -> NodeStats {
    NodeStats {
        measured_at: jiff::Timestamp::UNIX_EPOCH,
        cpu_used_millis,
        memory_used_bytes: 1,
        disk_used_bytes: 1,
        load_1m: 0.5,
        running_tasks: 0,
    }
}

async fn get(rig: &Rig, node: &str) -> v1::Node {
    let request = v1::GetNodeRequest { node: node.to_owned() };
    rig.nodes.get_node(Request::new(request)).await.unwrap().into_inner().node.unwrap()
}

#[tokio::test]
async fn a_node_tells_what_is_set_aside_and_measured_on_it() {
    let rig = Rig::new().await;
    let (node_id, session) = rig.join("one").await;
    let reservation = v1::Resources { cpu_millis: 500, memory_bytes: 64 << 20, disk_bytes: 0 };
    let resources = v1::ResourceRequirements { reservation: Some(reservation), limit: None };
    let task_id = rig.create(v1::TaskSpec { resources: Some(resources), ..spec("a") }).await.task_id;
    rig.run_on(&task_id, node_id, &[TaskState::Preparing]).await;
    rig.api.contacts.measured(node_id, session.session_id(), stats(7));
    // What was measured stays visible without a session.
    rig.api.contacts.closed(node_id, session.session_id());
    let node = get(&rig, "one").await;
    assert_eq!(node, get(&rig, &node_id.to_string()).await);
    assert_eq!((node.allocated, node.task_count), (Some(reservation), 1));
    assert_eq!(node.stats.unwrap().cpu_used_millis, 7);
}

#[tokio::test]
async fn unknown_and_unnamed_nodes_are_told_apart() {
    let rig = Rig::new().await;
    for (node, code) in [("", Code::InvalidArgument), ("nowhere", Code::NotFound)] {
        let name = node.to_owned();
        let update = v1::UpdateNodeRequest { node: name.clone(), ..Default::default() };
        let dry = v1::UpdateNodeRequest { validate_only: true, ..update.clone() };
        let statuses = [
            refused(rig.nodes.get_node(Request::new(v1::GetNodeRequest { node: name.clone() })).await),
            refused(rig.nodes.update_node(Request::new(update)).await),
            refused(rig.nodes.update_node(Request::new(dry)).await),
            refused(rig.nodes.cordon_node(Request::new(v1::CordonNodeRequest { node: name.clone() })).await),
            refused(rig.nodes.uncordon_node(Request::new(v1::UncordonNodeRequest { node: name })).await),
        ];
        for status in statuses {
            assert_eq!(status.code(), code, "{status:?}");
            assert_eq!(fields(&status).is_empty(), code == Code::NotFound);
        }
    }
    let request = v1::WatchNodeStatsRequest { node: "nowhere".into() };
    assert_eq!(refused(rig.nodes.watch_node_stats(Request::new(request)).await).code(), Code::NotFound);
}

#[tokio::test]
async fn nodes_are_listed_by_name_in_pages_and_filtered() {
    let rig = Rig::new().await;
    for name in ["c", "a", "b"] {
        rig.join(name).await;
    }
    let mut request = v1::ListNodesRequest { page_size: 2, ..Default::default() };
    let first = rig.nodes.list_nodes(Request::new(request.clone())).await.unwrap().into_inner();
    request.page_token = first.next_page_token;
    let second = rig.nodes.list_nodes(Request::new(request)).await.unwrap().into_inner();
    let names: Vec<_> = first.nodes.iter().chain(&second.nodes).map(|node| node.name.as_str()).collect();
    assert_eq!((names, second.next_page_token.as_str(), second.revision), (vec!["a", "b", "c"], "", 3));

    let down = v1::NodeFilter { states: vec![v1::NodeState::Down.into()], ..Default::default() };
    let request = v1::ListNodesRequest { filter: Some(down), ..Default::default() };
    assert!(rig.nodes.list_nodes(Request::new(request)).await.unwrap().into_inner().nodes.is_empty());
    let wrong = v1::NodeFilter { states: vec![9], ..Default::default() };
    let request = v1::ListNodesRequest { filter: Some(wrong), page_size: 5_000, page_token: "!".into() };
    let status = refused(rig.nodes.list_nodes(Request::new(request)).await);
    assert_eq!(fields(&status), ["page_size", "page_token", "filter.states[0]"]);
}

#[tokio::test]
async fn labels_are_set_unless_the_node_has_changed() {
    let rig = Rig::new().await;
    rig.join("one").await;
    let seen = get(&rig, "one").await;
    let update = v1::UpdateNodeRequest {
        node: "one".to_owned(),
        user_labels: labels("north"),
        etag: seen.etag.clone(),
        ..Default::default()
    };
    let dry = v1::UpdateNodeRequest { validate_only: true, ..update.clone() };
    let shown = rig.nodes.update_node(Request::new(dry)).await.unwrap().into_inner().node.unwrap();
    assert_eq!((shown.user_labels, shown.etag), (labels("north"), seen.etag.clone()));
    assert_eq!(get(&rig, "one").await, seen);

    let updated = rig.nodes.update_node(Request::new(update.clone())).await.unwrap().into_inner().node.unwrap();
    assert_eq!((updated.labels.len(), updated.user_labels), (2, labels("north")));
    let status = refused(rig.nodes.update_node(Request::new(update)).await);
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "NODE_HAS_CHANGED"));
}

#[tokio::test]
async fn only_user_labels_can_be_updated_and_they_must_be_right() {
    let rig = Rig::new().await;
    rig.join("one").await;
    let update_mask = Some(prost_types::FieldMask { paths: vec!["cordoned".to_owned(), "user_labels".to_owned()] });
    let user_labels = BTreeMap::from([("no good".to_owned(), String::new())]);
    let request = v1::UpdateNodeRequest { node: "one".into(), user_labels, update_mask, ..Default::default() };
    let status = refused(rig.nodes.update_node(Request::new(request)).await);
    assert_eq!(fields(&status), ["update_mask.paths[0]", "user_labels[\"no good\"]"]);
}

#[tokio::test]
async fn cordoning_may_be_repeated() {
    let rig = Rig::new().await;
    rig.join("one").await;
    for _ in 0..2 {
        let request = v1::CordonNodeRequest { node: "one".into() };
        assert!(rig.nodes.cordon_node(Request::new(request)).await.unwrap().into_inner().node.unwrap().cordoned);
    }
    let request = v1::UncordonNodeRequest { node: "one".into() };
    assert!(!rig.nodes.uncordon_node(Request::new(request)).await.unwrap().into_inner().node.unwrap().cordoned);
    assert_eq!(rig.api.writer.state().revision().0, 3);
}

#[tokio::test]
async fn measurements_are_streamed_from_the_last_known_on_and_the_newest_is_never_missed() {
    let rig = Rig::new().await;
    let (one, session) = rig.join("one").await;
    let (two, other) = rig.join("two").await;
    rig.api.contacts.measured(one, session.session_id(), stats(1));
    let request = v1::WatchNodeStatsRequest { node: "one".into() };
    let mut stream = rig.nodes.watch_node_stats(Request::new(request)).await.unwrap().into_inner();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!((first.node_name.as_str(), first.stats.unwrap().cpu_used_millis), ("one", 1));
    rig.api.contacts.measured(two, other.session_id(), stats(100));
    for cpu in 2..50 {
        rig.api.contacts.measured(one, session.session_id(), stats(cpu));
    }
    assert_eq!(stream.next().await.unwrap().unwrap().stats.unwrap().cpu_used_millis, 49);
    rig.shutdown.trigger();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
}

fn health_settings() -> health::Settings {
    health::Settings {
        heartbeat_period: Duration::from_secs(1),
        lease_duration: Duration::from_secs(10),
        restart_grace: Duration::ZERO,
        begin_timeout: Duration::from_secs(30),
        kept_finished_tasks: 10,
        finished_task_retention: Duration::from_secs(10),
        event_retention: Duration::from_secs(24 * 60 * 60),
    }
}

#[tokio::test(start_paused = true)]
async fn the_session_of_a_node_that_fell_silent_is_ended_so_that_its_worker_registers_anew() {
    let rig = Rig::new().await;
    let (_, session) = rig.join("silent").await;
    let (writer, contacts) = (rig.api.writer.clone(), rig.api.contacts.clone());
    let clock = Arc::clone(&rig.api.world.clock);
    tokio::spawn(health::run(writer, contacts, health_settings(), clock, rig.shutdown.clone()));
    assert_eq!(session.next().await, Delivery::Close("the node is down: register anew".to_owned()));
    assert_eq!(get(&rig, "silent").await.state(), v1::NodeState::Down);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_registers_is_not_called_down_for_its_silence_before() {
    let rig = Rig::new().await;
    let (node_id, session) = rig.join("back").await;
    rig.api.contacts.closed(node_id, session.session_id());
    tokio::time::advance(Duration::from_secs(15)).await;
    health::look(&rig.api.writer, &rig.api.contacts, health_settings(), Duration::ZERO).await.unwrap();
    assert_eq!(get(&rig, "back").await.state(), v1::NodeState::Down);

    // Both wait when the writer's turn comes, so they are of one batch: the session is not open yet when the node is judged.
    let again = Arc::new(Outbox::new(UuidV7Source.session_id()));
    let registered = worker_session_service::register(&rig.api, registration(node_id, "back", 2), Arc::clone(&again));
    let looked = health::look(&rig.api.writer, &rig.api.contacts, health_settings(), Duration::ZERO);
    let (registered, looked) = tokio::join!(biased; registered, looked);
    registered.unwrap();
    looked.unwrap();
    assert_ne!(get(&rig, "back").await.state(), v1::NodeState::Down);
    health::look(&rig.api.writer, &rig.api.contacts, health_settings(), Duration::ZERO).await.unwrap();
    assert_eq!(get(&rig, "back").await.state(), v1::NodeState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_goes_for_a_while_is_waited_for_as_long_as_it_said_and_not_for_ever() {
    let rig = Rig::new().await;
    let look =
        || async { health::look(&rig.api.writer, &rig.api.contacts, health_settings(), Duration::ZERO).await.unwrap() };
    for (said, waited) in [(Duration::from_secs(20), 20), (Duration::MAX, 600)] {
        let name = format!("away-{waited}");
        let (node_id, session) = rig.join(&name).await;
        rig.api.contacts.goes_away(node_id, session.session_id(), said);
        rig.api.contacts.closed(node_id, session.session_id());
        tokio::time::advance(Duration::from_secs(waited - 1)).await;
        look().await;
        assert_eq!(get(&rig, &name).await.state(), v1::NodeState::Suspect);
        tokio::time::advance(Duration::from_secs(1)).await;
        look().await;
        assert_eq!(get(&rig, &name).await.state(), v1::NodeState::Down);
    }

    // One that has been back is missed as any other.
    let (node_id, session) = rig.join("back").await;
    rig.api.contacts.goes_away(node_id, session.session_id(), Duration::from_secs(20));
    let again = Arc::new(Outbox::new(UuidV7Source.session_id()));
    rig.api.contacts.opened(node_id, Arc::clone(&again), None);
    rig.api.contacts.closed(node_id, again.session_id());
    tokio::time::advance(Duration::from_secs(3)).await;
    look().await;
    assert_eq!(get(&rig, "back").await.state(), v1::NodeState::Down);
}

#[tokio::test]
async fn a_worker_that_is_away_is_waited_for_also_by_a_manager_that_was_started_meanwhile() {
    // Said, and how long the manager was gone by its clock (which may jump); how long it waits then.
    for (said, gone, waited) in
        [(120, 20, 100), (22, 20, 5), (20, 20, 5), (10, 20, 5), (Duration::MAX.as_secs(), -86_400, 600)]
    {
        let mut cluster = Cluster::new(1);
        cluster.run(|draft| note_away(draft, node_id(1), Duration::from_secs(said)));
        cluster.now = cluster.now.checked_add(jiff::SignedDuration::from_secs(gone)).unwrap();
        let contacts = Contacts::new();
        let node = cluster.state.node(node_id(1)).unwrap();
        contacts.expect(node_id(1), Duration::from_secs(5), away_for(node, cluster.now));
        let contact = contacts.contact(node_id(1)).unwrap();
        assert_eq!(contact.grace_left.as_secs_f64().round() as u64, waited);
        assert_eq!(contact.is_away, gone < said.try_into().unwrap_or(i64::MAX));
        cluster.run(|draft| register_node(draft, commands::test_support::registration(1), LEASE)).unwrap();
        assert_eq!(cluster.state.node(node_id(1)).unwrap().away_until, None);
    }
}

#[tokio::test]
async fn only_the_newest_session_of_a_node_may_say_that_its_worker_goes() {
    let rig = Rig::new().await;
    let (node_id, _session) = rig.join("twice").await;
    let again = registration(node_id, "twice", 2);
    rig.api.writer.write(move |draft| register_node(draft, again, LEASE)).await.unwrap();
    let away_until = || rig.api.writer.state().node(node_id).unwrap().away_until;
    for (number, counts) in [(1, false), (2, true)] {
        let writes = SessionWrites { api: &rig.api, registered: Registered { node_id, number } };
        writes.going(move |draft| note_away(draft, node_id, Duration::from_secs(60))).await;
        assert_eq!(away_until().is_some(), counts, "registration {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_of_a_node_that_is_down_is_ended_however_it_came_to_be() {
    let rig = Rig::new().await;
    let (node_id, _) = rig.join("odd").await;
    let down = move |draft: &mut Draft| {
        commands::set_node_state(draft, node_id, NodeState::Down, "of a test");
        Ok::<(), commands::Error>(())
    };
    rig.api.writer.write(down).await.unwrap();
    let session = Arc::new(Outbox::new(UuidV7Source.session_id()));
    rig.api.contacts.opened(node_id, Arc::clone(&session), None);
    health::look(&rig.api.writer, &rig.api.contacts, health_settings(), Duration::ZERO).await.unwrap();
    assert_eq!(session.next().await, Delivery::Close("the node is down: register anew".to_owned()));
}

#[tokio::test]
async fn the_cluster_is_summed_up() {
    let rig = Rig::new().await;
    let (node_id, _session) = rig.join("one").await;
    rig.join("two").await;
    let task_id = rig.create(spec("a")).await.task_id;
    rig.create(spec("b")).await;
    rig.run_on(&task_id, node_id, &[]).await;
    let answer = rig.cluster.get_cluster(Request::new(v1::GetClusterRequest {})).await.unwrap().into_inner();
    let cluster = answer.cluster.unwrap();
    assert_eq!((cluster.name.as_str(), cluster.revision, cluster.oldest_event_revision), ("test", 5, 1));
    let tasks: Vec<_> = cluster.tasks.iter().map(|row| (row.state(), row.count)).collect();
    assert_eq!(tasks, [(v1::TaskState::Pending, 1), (v1::TaskState::Scheduled, 1)]);
    let nodes: Vec<_> = cluster.nodes.iter().map(|row| (row.state(), row.count)).collect();
    assert_eq!(nodes, [(v1::NodeState::Ready, 2)]);
    assert_eq!(cluster.allocatable.unwrap().cpu_millis, 8_000);
    let scheduler = cluster.scheduler.unwrap();
    assert_eq!((scheduler.connected, scheduler.reason.as_str()), (false, "connection refused"));
}
