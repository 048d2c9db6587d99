//! What users may ask of deployments, and what is refused whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::deployment::{CreateRequest, DeploymentMode, DeploymentSpec, RolloutState, UpdatePolicy};
use davit_core::id::DeploymentId;
use davit_core::spec::TaskSpec;
use uuid::Uuid;

use crate::commands::test_support::{Cluster, keyed, labelled, named, spec};
use crate::commands::{
    Error, Limits, Named, NewDeployment, Wanted, create_deployment, delete_deployment, pause_rollout, promote_rollout,
    resume_rollout, roll_back_deployment, scale_deployment, update_deployment,
};

const TWO: DeploymentMode = DeploymentMode::Replicated { replicas: 2 };

fn wanted(task: TaskSpec, mode: DeploymentMode) -> Wanted {
    let spec = DeploymentSpec {
        labels: BTreeMap::new(),
        mode,
        task: Arc::new(task.clone()),
        update: UpdatePolicy::default(),
        rollback: None,
        kept_versions: 3,
        app: String::new(),
        start_after: Vec::new(),
    };
    Wanted { spec, task: keyed(task), author: "someone".to_owned() }
}

fn new(number: u64, name: &str, request: Option<(&str, u64)>) -> NewDeployment {
    let request =
        request.map(|(request_id, fingerprint)| CreateRequest { request_id: request_id.to_owned(), fingerprint });
    let deployment_id = DeploymentId(Uuid::from_u64_pair(4, number));
    NewDeployment { deployment_id, name: name.to_owned(), wanted: wanted(spec(), TWO), request }
}

/// A cluster with `web`, of two replicas.
fn web() -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.run(|draft| create_deployment(draft, new(1, "web", None), Limits::NONE)).unwrap();
    cluster
}

/// That it was refused, and nothing changed.
fn refused<T: std::fmt::Debug>(cluster: &Cluster, outcome: Result<T, Error>) -> Error {
    assert!(cluster.last_batch.is_empty(), "refused, and changed something all the same");
    outcome.unwrap_err()
}

#[test]
fn a_name_is_taken_until_its_deployment_is_gone() {
    let mut cluster = web();
    let again = cluster.run(|draft| create_deployment(draft, new(2, "web", None), Limits::NONE));
    assert_eq!(refused(&cluster, again), Error::DeploymentExists { name: "web".to_owned() });
    cluster.run(|draft| delete_deployment(draft, &named("web"))).unwrap();
    let again = cluster.run(|draft| create_deployment(draft, new(2, "web", None), Limits::NONE));
    assert_eq!(refused(&cluster, again), Error::DeploymentIsBeingDeleted { name: "web".to_owned() });
    cluster.reconcile_deployments();
    cluster.run(|draft| create_deployment(draft, new(2, "web", None), Limits::NONE)).unwrap();
}

#[test]
fn a_create_that_is_sent_again_is_answered_and_its_id_is_good_for_this_content_only() {
    let mut cluster = Cluster::new(1);
    let first = new(1, "web", Some(("a", 7)));
    cluster.run(|draft| create_deployment(draft, first, Limits::NONE)).unwrap();
    let again = new(2, "web", Some(("a", 7)));
    let answer = cluster.run(|draft| create_deployment(draft, again, Limits::NONE)).unwrap();
    assert_eq!(answer.deployment_id, DeploymentId(Uuid::from_u64_pair(4, 1)));
    assert!(cluster.last_batch.is_empty());
    let other = new(2, "web", Some(("a", 8)));
    let other = cluster.run(|draft| create_deployment(draft, other, Limits::NONE));
    assert_eq!(refused(&cluster, other), Error::RequestIdReused { request_id: "a".to_owned() });
}

#[test]
fn there_are_so_many_deployments_and_no_more() {
    let mut cluster = Cluster::new(0);
    cluster.run(|draft| {
        for number in 0..10_000 {
            let name = format!("web-{number}");
            create_deployment(draft, new(number, &name, None), Limits::NONE).unwrap();
        }
    });
    let more = cluster.run(|draft| create_deployment(draft, new(10_000, "more", None), Limits::NONE));
    assert_eq!(refused(&cluster, more), Error::TooManyDeployments { max_deployments: 10_000 });
    // Those that there are can be changed all the same.
    cluster.run(|draft| scale_deployment(draft, &named("web-7"), 5, String::new(), Limits::NONE)).unwrap();
}

#[test]
fn what_would_be_more_tasks_or_bytes_than_there_may_be_is_refused_whole() {
    let mut cluster = web();
    let four = Limits { max_tasks: 4, ..Limits::NONE };
    let scaled = cluster.run(|draft| scale_deployment(draft, &named("web"), 7, String::new(), four));
    assert_eq!(refused(&cluster, scaled), Error::TooManyTasks { there: 0, more: 5, max_tasks: 4 });
    let there = cluster.state.specs().bytes();
    let full = Limits { max_spec_bytes: there, ..Limits::NONE };
    let other = wanted(labelled("a", "b"), TWO);
    let updated = cluster.run(|draft| update_deployment(draft, &named("web"), other, full));
    let error = refused(&cluster, updated);
    assert!(matches!(error, Error::TooManySpecBytes { max_spec_bytes, .. } if max_spec_bytes == there), "{error}");
    // Fewer are never too many.
    cluster.run(|draft| scale_deployment(draft, &named("web"), 1, String::new(), four)).unwrap();
}

#[test]
fn a_change_as_of_an_older_state_is_refused() {
    let mut cluster = web();
    let etag = davit_proto::convert::deployment_etag(cluster.state.deployment_by_name("web").unwrap());
    let as_seen = Named { etag: etag.clone(), ..named("web") };
    cluster.run(|draft| scale_deployment(draft, &as_seen, 3, "first".to_owned(), Limits::NONE)).unwrap();
    let second = cluster.run(|draft| scale_deployment(draft, &as_seen, 4, "second".to_owned(), Limits::NONE));
    assert!(matches!(refused(&cluster, second), Error::DeploymentHasChanged { expected, .. } if expected == etag));
    let deleted = cluster.run(|draft| delete_deployment(draft, &as_seen));
    assert!(matches!(refused(&cluster, deleted), Error::DeploymentHasChanged { .. }));
    let current = cluster.state.deployment_by_name("web").unwrap().current().unwrap().clone();
    assert_eq!((current.number, current.author.as_str()), (2, "first"));
}

#[test]
fn what_is_wanted_already_makes_no_version() {
    let mut cluster = web();
    cluster.run(|draft| update_deployment(draft, &named("web"), wanted(spec(), TWO), Limits::NONE)).unwrap();
    assert!(cluster.last_batch.is_empty());
    cluster.run(|draft| scale_deployment(draft, &named("web"), 2, String::new(), Limits::NONE)).unwrap();
    assert!(cluster.last_batch.is_empty());
}

#[test]
fn one_with_replicas_never_becomes_one_of_each_node_nor_the_other_way_round() {
    let mut cluster = web();
    let global = wanted(spec(), DeploymentMode::Global);
    let updated = cluster.run(|draft| update_deployment(draft, &named("web"), global, Limits::NONE));
    assert_eq!(refused(&cluster, updated), Error::ModeChanges { name: "web".to_owned() });
    assert!(cluster.deploy("agent", spec(), DeploymentMode::Global));
    let scaled = cluster.run(|draft| scale_deployment(draft, &named("agent"), 2, String::new(), Limits::NONE));
    assert_eq!(refused(&cluster, scaled), Error::NoReplicas { name: "agent".to_owned() });
}

#[test]
fn there_is_nothing_to_go_back_to_but_versions_that_are_kept() {
    let mut cluster = web();
    let back = cluster.run(|draft| roll_back_deployment(draft, &named("web"), None, String::new()));
    assert_eq!(refused(&cluster, back), Error::VersionNotFound { name: "web".to_owned(), version: None });
    let back = cluster.run(|draft| roll_back_deployment(draft, &named("web"), Some(9), String::new()));
    assert_eq!(refused(&cluster, back), Error::VersionNotFound { name: "web".to_owned(), version: Some(9) });
    cluster.run(|draft| roll_back_deployment(draft, &named("web"), Some(1), String::new())).unwrap();
    assert!(cluster.last_batch.is_empty(), "it is at version 1");
    cluster
        .run(|draft| update_deployment(draft, &named("web"), wanted(labelled("a", "b"), TWO), Limits::NONE))
        .unwrap();
    cluster.run(|draft| scale_deployment(draft, &named("web"), 5, String::new(), Limits::NONE)).unwrap();
    let back = cluster.run(|draft| roll_back_deployment(draft, &named("web"), Some(1), "someone".to_owned())).unwrap();
    let current = back.current().unwrap();
    assert_eq!((current.number, current.change.as_str()), (4, "rollback to version 1"));
    assert_eq!(*current.spec.task, spec());
    assert_eq!(current.spec.mode, DeploymentMode::Replicated { replicas: 5 }, "the number is no matter of a rollback");
}

#[test]
fn a_rollback_to_what_there_is_already_changes_nothing() {
    let mut cluster = web();
    let other = wanted(labelled("a", "b"), TWO);
    cluster.run(|draft| update_deployment(draft, &named("web"), other, Limits::NONE)).unwrap();
    for changed in [true, false] {
        let back = cluster.run(|draft| roll_back_deployment(draft, &named("web"), Some(1), String::new())).unwrap();
        assert_eq!((back.current().unwrap().number, cluster.last_batch.is_empty()), (3, !changed));
    }
}

#[test]
fn a_rollout_is_paused_while_it_is_under_way_resumed_while_it_is_paused_and_promoted_once() {
    let mut cluster = web();
    let resumed = cluster.run(|draft| resume_rollout(draft, &named("web")));
    let (name, state) = ("web".to_owned(), RolloutState::InProgress);
    assert_eq!(refused(&cluster, resumed), Error::NothingToResume { name: name.clone(), state });
    let promoted = cluster.run(|draft| promote_rollout(draft, &named("web")));
    assert_eq!(refused(&cluster, promoted), Error::NothingToPromote { name: name.clone(), state });
    cluster.run(|draft| pause_rollout(draft, &named("web"))).unwrap();
    let paused = cluster.run(|draft| pause_rollout(draft, &named("web")));
    let state = RolloutState::Paused;
    assert_eq!(refused(&cluster, paused), Error::NothingToPause { name, state });
    let resumed = cluster.run(|draft| resume_rollout(draft, &named("web"))).unwrap();
    assert_eq!((resumed.rollout.state, resumed.rollout.reason.as_str()), (RolloutState::InProgress, ""));
}

#[test]
fn one_that_is_being_deleted_takes_no_change_and_can_be_deleted_again() {
    let mut cluster = web();
    cluster.reconcile_deployments();
    cluster.run(|draft| delete_deployment(draft, &named("web"))).unwrap();
    let gone = Error::DeploymentIsBeingDeleted { name: "web".to_owned() };
    let scaled = cluster.run(|draft| scale_deployment(draft, &named("web"), 5, String::new(), Limits::NONE));
    assert_eq!(refused(&cluster, scaled), gone);
    let other = wanted(labelled("a", "b"), TWO);
    let updated = cluster.run(|draft| update_deployment(draft, &named("web"), other, Limits::NONE));
    assert_eq!(refused(&cluster, updated), gone);
    let paused = cluster.run(|draft| pause_rollout(draft, &named("web")));
    assert_eq!(refused(&cluster, paused), gone);
    cluster.run(|draft| delete_deployment(draft, &named("web"))).unwrap();
    assert!(cluster.last_batch.is_empty());
}

#[test]
fn one_that_is_not_there_is_refused_by_its_name() {
    let mut cluster = web();
    let deleted = cluster.run(|draft| delete_deployment(draft, &named("db")));
    assert_eq!(refused(&cluster, deleted), Error::DeploymentNotFound { deployment: "db".to_owned() });
}
