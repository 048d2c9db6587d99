use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::SessionId;
use davit_core::placement::RuntimeKind;
use davit_core::spec::{OnNodeLoss, TaskSpec};
use davit_proto::convert::RuntimeHealth;
use davit_svc_kit::ids::{IdSource as _, UuidV7Source};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::commands::test_support::{Cluster, LEASE, node_id, registration, spec};
use crate::commands::{register_node, remove_node, replace_unbegun, set_node_state, set_runtime_health, stop_task};
use crate::dispatch::Outbox;
use crate::state::{KeptEvents, Visited};

fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        heartbeat_period: second,
        kept_finished_tasks: 1,
        finished_task_retention: second,
        lease_duration: second,
        restart_grace: second,
        begin_timeout: second,
        event_retention: second,
    }
}

#[tokio::test(start_paused = true)]
async fn what_this_manager_has_not_heard_yet_is_no_nodes_silence() {
    let cluster = Cluster::new(1);
    let (contacts, outbox) = (Contacts::new(), Arc::new(Outbox::new(UuidV7Source.session_id())));
    contacts.opened(node_id(1), outbox, None);
    let settings = settings();
    tokio::time::advance(settings.heartbeat_period * 4).await;
    let verdicts = |late| look_at_due(&cluster.state, &contacts, settings, late, cluster.now).verdicts;
    assert!(matches!(&verdicts(Duration::ZERO)[..], [(_, verdict)] if verdict.state == NodeState::Down));
    assert!(verdicts(settings.heartbeat_period * 3).is_empty(), "it may have been heard a period ago");
}

#[test]
fn who_judges_by_an_older_version_forgets_no_node_that_has_joined_since() {
    let before = ClusterState::new(KeptEvents::up_to(10));
    let (contacts, node_id) = (Contacts::new(), UuidV7Source.node_id());
    contacts.opened(node_id, Arc::new(Outbox::new(UuidV7Source.session_id())), None);
    let looked = look_at_due(&before, &contacts, settings(), Duration::ZERO, Timestamp::UNIX_EPOCH);
    assert!(contacts.session(node_id).is_some(), "its worker would be heard no more, and never told to come again");
    assert!(looked.verdicts.is_empty() && looked.has_strangers, "the writer's turn decides on it");
}

/// How many nodes a minute of looks visits in a cluster of so many, all of which are in touch.
async fn visited_in_a_minute(nodes: u64) -> u64 {
    let (cluster, contacts, settings) = (Cluster::new(nodes), Contacts::new(), settings());
    let open = |number| {
        let session_id = UuidV7Source.session_id();
        contacts.opened(node_id(number), Arc::new(Outbox::new(session_id)), None);
        (node_id(number), session_id)
    };
    let sessions: Vec<(NodeId, SessionId)> = (1..=nodes).map(open).collect();
    let before = cluster.state.visited().nodes;
    for _ in 0..60 {
        assert!(sessions.iter().all(|(node_id, session_id)| contacts.heard(*node_id, *session_id)));
        for _ in 0..LOOKS_PER_PERIOD {
            let looked = look_at_due(&cluster.state, &contacts, settings, Duration::ZERO, cluster.now);
            assert!(looked.verdicts.is_empty() && !looked.has_strangers);
            tokio::time::advance(settings.heartbeat_period / LOOKS_PER_PERIOD).await;
        }
    }
    cluster.state.visited().nodes - before
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_in_touch_are_looked_at_less_often_than_they_are_heard() {
    for nodes in [10, 100] {
        let visited = visited_in_a_minute(nodes).await;
        assert!((nodes..=60 * nodes).contains(&visited), "{visited} visits of {nodes} nodes");
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_awaited_after_a_restart_are_looked_at_when_they_change_and_when_they_are_late() {
    let (mut cluster, contacts, nodes, grace) = (Cluster::new(100), Contacts::new(), 100, Duration::from_secs(5));
    let settings = Settings { restart_grace: grace, ..settings() };
    let before = cluster.state.visited().nodes;
    let (mut suspect, mut down) = (0, 0);
    // The node that is back is looked at with each look while it is SUSPECT; the others are not, however many they are.
    for look in 0..100 {
        if look == 20 {
            contacts.opened(node_id(1), Arc::new(Outbox::new(UuidV7Source.session_id())), None);
        }
        let looked = look_at_due(&cluster.state, &contacts, settings, Duration::ZERO, cluster.now);
        for (node_id, verdict) in looked.verdicts {
            (suspect, down) = (
                suspect + u32::from(verdict.state == NodeState::Suspect),
                down + u32::from(verdict.state == NodeState::Down),
            );
            cluster.run(|draft| set_node_state(draft, node_id, verdict.state, &verdict.reason));
        }
        if let Some(session) = contacts.session(node_id(1)) {
            contacts.heard(node_id(1), session.session_id());
        }
        tokio::time::advance(settings.look_period()).await;
    }
    assert_eq!((suspect, down), (100, 99));
    assert_eq!(cluster.state.node(node_id(1)).map(|node| node.state), Some(NodeState::Ready));
    let visited = cluster.state.visited().nodes - before;
    assert!((3 * nodes..8 * nodes).contains(&visited), "{visited} visits of {nodes} nodes in 100 looks");
}

#[tokio::test(start_paused = true)]
async fn looks_are_rare_while_all_are_in_touch_and_never_too_late() {
    let (mut cluster, contacts, settings) = (Cluster::new(1), Contacts::new(), settings());
    let (quick, slow) = (settings.look_period(), settings.heartbeat_period / CALM_LOOKS_PER_PERIOD);
    let look = |cluster: &Cluster| {
        look_at_due(&cluster.state, &contacts, settings, Duration::ZERO, cluster.now);
        nap_after(&cluster.state, &contacts, settings)
    };
    let session = UuidV7Source.session_id();
    contacts.opened(node_id(1), Arc::new(Outbox::new(session)), None);
    assert_eq!(look(&cluster), slow, "it was heard just now");
    let (began, mut naps) = (Instant::now(), 0);
    loop {
        let nap = look(&cluster);
        if nap == quick {
            break;
        }
        assert!(nap > quick && nap <= slow, "{nap:?}");
        (naps, _) = (naps + 1, tokio::time::advance(nap).await);
    }
    // Two periods after it was heard last it is SUSPECT.
    assert_eq!((naps, began.elapsed()), (2 * CALM_LOOKS_PER_PERIOD, settings.heartbeat_period * 2));
    contacts.heard(node_id(1), session);
    contacts.doubt([node_id(1)]);
    assert_eq!(look(&cluster), slow);
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Suspect, "silent"));
    assert_eq!(look(&cluster), quick, "it is about to be called DOWN, or to come back");
}

#[tokio::test(start_paused = true)]
async fn who_is_doubted_is_looked_at_before_the_nap_is_over() {
    let (contacts, settings) = (Contacts::new(), settings());
    let (last_look, nap) = (Instant::now(), settings.heartbeat_period / CALM_LOOKS_PER_PERIOD);
    next_look(&contacts, settings, last_look, nap).await;
    assert_eq!(last_look.elapsed(), nap);
    let last_look = Instant::now();
    contacts.doubt([node_id(1)]);
    next_look(&contacts, settings, last_look, nap).await;
    assert_eq!(last_look.elapsed(), settings.look_period());
}

/// Settings by which nothing is too old to be kept.
fn keeping_all() -> Settings {
    let year = Duration::from_secs(365 * 24 * 3600);
    Settings { kept_finished_tasks: 1_000, finished_task_retention: year, event_retention: year, ..settings() }
}

/// A node that went down a while ago, with these tasks, of which nothing is to be said at first.
async fn down_with(specs: &[TaskSpec]) -> (Cluster, Contacts, LeaseWatch) {
    let (mut cluster, contacts, mut leases) = (Cluster::new(1), Contacts::new(), LeaseWatch::default());
    for spec in specs {
        cluster.running(spec.clone(), 1);
    }
    contacts.expect(node_id(1), Duration::ZERO, None);
    tokio::time::advance(settings().heartbeat_period * 3).await;
    cluster.run(|draft| set_node_state(draft, node_id(1), NodeState::Down, "silent"));
    assert!(!must_write(&cluster, &contacts, &mut leases));
    (cluster, contacts, leases)
}

/// Whether a look has something for the writer.
fn must_write(cluster: &Cluster, contacts: &Contacts, leases: &mut LeaseWatch) -> bool {
    let looked = look_at_due(&cluster.state, contacts, keeping_all(), Duration::ZERO, cluster.now);
    let lease_has_ended = leases.first_has_ended(&cluster.state, contacts, keeping_all().lease_duration);
    !looked.is_empty() || lease_has_ended || has_work(&cluster.state, cluster.now, keeping_all())
}

/// What is visited while looks go on for so long, of which none has something for the writer.
async fn visited_at_rest(
    cluster: &mut Cluster,
    contacts: &Contacts,
    leases: &mut LeaseWatch,
    time: Duration,
) -> Visited {
    let (before, period) = (cluster.state.visited(), settings().heartbeat_period / LOOKS_PER_PERIOD);
    for _ in 0..time.as_millis() / period.as_millis() {
        tokio::time::advance(period).await;
        cluster.advance(period);
        assert!(!must_write(cluster, contacts, leases));
    }
    let after = cluster.state.visited();
    Visited { tasks: after.tasks - before.tasks, nodes: after.nodes - before.nodes }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stays_down_is_not_looked_at_before_a_task_on_it_is_due() {
    let wait = Duration::from_secs(60);
    let waiting = |wait| TaskSpec { on_node_loss: OnNodeLoss::Wait(wait), ..spec() };
    let (mut cluster, contacts, mut leases) = down_with(&[waiting(wait), waiting(wait * 60), waiting(wait * 60)]).await;
    let rest = wait - Duration::from_millis(100);
    assert_eq!(visited_at_rest(&mut cluster, &contacts, &mut leases, rest).await, Visited::default());
    tokio::time::advance(Duration::from_millis(100)).await;
    cluster.advance(Duration::from_millis(100));
    assert!(must_write(&cluster, &contacts, &mut leases));
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.state.placeable(cluster.now).count(), 1);
    // Those that wait longer are not in its way.
    assert_eq!(visited_at_rest(&mut cluster, &contacts, &mut leases, wait).await, Visited::default());
    let stopped = cluster.state.tasks_on(node_id(1)).next().map(|task| task.task_id).expect("a task");
    cluster.run(|draft| stop_task(draft, stopped)).expect("it stops");
    assert!(must_write(&cluster, &contacts, &mut leases), "nobody waits for one that is to stop");
    cluster.lose_tasks_of_down_nodes();
    assert_eq!(cluster.state.tasks_on(node_id(1)).count(), 1);
    assert_eq!(visited_at_rest(&mut cluster, &contacts, &mut leases, wait).await, Visited::default());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_waited_for_is_looked_at_when_it_has_ended() {
    let leased = TaskSpec { on_node_loss: OnNodeLoss::StopAndReplace, ..spec() };
    let grace = davit_core::lease::time_to_stop(leased.stop.grace);
    let (mut cluster, contacts, mut leases) = down_with(&[leased]).await;
    // It was silent for three periods before.
    let left = settings().lease_duration + grace - settings().heartbeat_period * 3;
    let rest = left - Duration::from_millis(100);
    assert_eq!(visited_at_rest(&mut cluster, &contacts, &mut leases, rest).await, Visited::default());
    tokio::time::advance(Duration::from_millis(100)).await;
    assert!(must_write(&cluster, &contacts, &mut leases));
    // It could not be written: the next look tries again.
    assert!(must_write(&cluster, &contacts, &mut leases));
    cluster.lose_tasks_after(settings().heartbeat_period + LEASE + grace);
    assert_eq!(cluster.state.placeable(cluster.now).count(), 1);
    assert_eq!(visited_at_rest(&mut cluster, &contacts, &mut leases, left).await, Visited::default());
}

#[tokio::test(start_paused = true)]
async fn tasks_on_a_node_whose_engine_fails_for_long_are_not_gone_over_again() {
    let (mut cluster, contacts, mut leases) = (Cluster::new(1), Contacts::new(), LeaseWatch::default());
    contacts.opened(node_id(1), Arc::new(Outbox::new(UuidV7Source.session_id())), None);
    cluster.running(spec(), 1);
    let unbegun = cluster.create(spec());
    assert_eq!(cluster.place(unbegun, 1).committed, 1);
    let problems = [(RuntimeKind::Docker, "hangs".to_owned())].into();
    cluster.run(|draft| set_runtime_health(draft, node_id(1), RuntimeHealth { runtimes: [].into(), problems }));
    let tasks_before = cluster.state.visited().tasks;
    assert!(!must_write(&cluster, &contacts, &mut leases));
    cluster.advance(settings().begin_timeout);
    assert!(must_write(&cluster, &contacts, &mut leases));
    cluster.run(|draft| replace_unbegun(draft, settings().begin_timeout));
    assert_eq!(cluster.state.visited().tasks - tasks_before, 1, "what runs is none of its business");
    for _ in 0..100 {
        cluster.advance(settings().begin_timeout);
        assert!(!must_write(&cluster, &contacts, &mut leases));
    }
    assert_eq!(cluster.state.visited().tasks - tasks_before, 1);
}

/// What happens to a cluster of three nodes.
#[derive(Debug, Clone)]
enum Step {
    Open(u64),
    Close(u64),
    Heard(u64),
    Goodbye(u64),
    Away(u64),
    /// This manager did not run for so many milliseconds.
    Forgive(u64),
    /// Milliseconds pass.
    Wait(u64),
    State(u64, NodeState),
    Register(u64),
    Remove(u64),
    /// As the loop does; this many milliseconds late.
    Look(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 1..=3_u64;
    let state = prop::sample::select(vec![NodeState::Ready, NodeState::Suspect, NodeState::Down]);
    prop_oneof![
        3 => node().prop_map(Step::Open),
        1 => node().prop_map(Step::Close),
        6 => node().prop_map(Step::Heard),
        1 => node().prop_map(Step::Goodbye),
        1 => node().prop_map(Step::Away),
        1 => (0..3_000_u64).prop_map(Step::Forgive),
        8 => (0..1_500_u64).prop_map(Step::Wait),
        1 => (node(), state).prop_map(|(node, state)| Step::State(node, state)),
        1 => node().prop_map(Step::Register),
        1 => node().prop_map(Step::Remove),
        8 => prop_oneof![3 => Just(0), 1 => 0..3_000_u64].prop_map(Step::Look),
    ]
}

/// Looks at those that are due, and compares what is said with what a look at all says.
fn look_and_compare(cluster: &mut Cluster, contacts: &Contacts, late: Duration) -> Result<(), TestCaseError> {
    let (settings, state) = (settings(), cluster.state.clone());
    let judged = |node_id| {
        let (node, contact) = (state.node(node_id)?, contacts.contact(node_id)?);
        let contact = Contact { silent_for: contact.silent_for.saturating_sub(late), ..contact };
        judge(node.state, contact, settings.heartbeat_period).map(|verdict| (node_id, verdict))
    };
    let all: BTreeMap<NodeId, Verdict> = (1..=3).map(node_id).filter_map(judged).collect();
    let strangers = (1..=3).map(node_id).any(|id| state.node(id).is_none() && contacts.contact(id).is_some());
    let is_obvious = contacts.count() != state.node_count();
    let looked = look_at_due(&state, contacts, settings, late, cluster.now);
    prop_assert_eq!(looked.verdicts.into_iter().collect::<BTreeMap<_, _>>(), all.clone());
    // If as many are missing they are found later.
    prop_assert!(looked.has_strangers == strangers || !is_obvious && strangers);
    if looked.has_strangers {
        contacts.retain(|node_id| state.node(node_id).is_some());
    }
    for (node_id, verdict) in all {
        cluster.run(|draft| set_node_state(draft, node_id, verdict.state, &verdict.reason));
    }
    Ok(())
}

fn run(cluster: &mut Cluster, contacts: &Contacts, step: &Step) -> Result<Duration, TestCaseError> {
    let session_of = |node| contacts.session(node_id(node)).map(|session| session.session_id());
    match *step {
        Step::Open(node) if cluster.state.node(node_id(node)).is_some() => {
            contacts.opened(node_id(node), Arc::new(Outbox::new(UuidV7Source.session_id())), None);
        }
        Step::Register(node) => {
            contacts.registers(node_id(node));
            let number = cluster.state.node(node_id(node)).map_or(0, |node| node.registration_number + 1);
            let again = commands::Registration { registration_number: number, ..registration(node) };
            cluster.run(|draft| register_node(draft, again, LEASE)).expect("it joins");
        }
        Step::Open(_) => {}
        Step::Close(node) => session_of(node).into_iter().for_each(|session| contacts.closed(node_id(node), session)),
        Step::Heard(node) => {
            session_of(node).map(|session| contacts.heard(node_id(node), session));
        }
        Step::Goodbye(node) => {
            session_of(node).into_iter().for_each(|session| contacts.said_goodbye(node_id(node), session));
        }
        Step::Away(node) => {
            let away = Duration::from_secs(5);
            session_of(node).into_iter().for_each(|session| contacts.goes_away(node_id(node), session, away));
        }
        Step::Forgive(millis) => {
            contacts.forgive(Duration::from_millis(millis));
            return Ok(Duration::from_millis(millis));
        }
        Step::Wait(millis) => return Ok(Duration::from_millis(millis)),
        Step::State(node, state) => {
            cluster.run(|draft| set_node_state(draft, node_id(node), state, "test"));
        }
        Step::Remove(node) => {
            // It may be in touch, or be none.
            let _ = cluster.run(|draft| remove_node(draft, &format!("node-{node}"), true));
        }
        Step::Look(late) => look_and_compare(cluster, contacts, Duration::from_millis(late))?,
    }
    Ok(Duration::ZERO)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_look_at_those_that_are_due_says_what_a_look_at_all_says(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (mut cluster, contacts) = (Cluster::new(2), Contacts::new());
            for step in &steps {
                let passes = run(&mut cluster, &contacts, step)?;
                tokio::time::advance(passes).await;
            }
            // What was hidden behind something else is found before long.
            for _ in 0..3 {
                look_and_compare(&mut cluster, &contacts, Duration::ZERO)?;
                tokio::time::advance(settings().heartbeat_period).await;
            }
            let known: BTreeSet<NodeId> = cluster.state.nodes().map(|node| node.node_id).collect();
            let heard = (1..=3).map(node_id).filter(|node_id| contacts.contact(*node_id).is_some());
            prop_assert_eq!(heard.collect::<BTreeSet<_>>(), known);
            Ok(())
        })?;
    }
}
