use super::*;
use crate::output::test_support::{NOW, failed_task, node, node_id, running_task, task};

const PLAIN: ExplainView = ExplainView { all: false, wide: false };

fn plain() -> Palette {
    Palette::new(false)
}

fn placement(answer: &v1::ExplainPlacementResponse, count: u32, view: ExplainView) -> String {
    let (nodes, victims) = (KnownNodes::default(), [(running_task().task_id, "web".to_owned())].into());
    let asked = Asked { count, like: None, nodes: &nodes, victims: &victims };
    explained_placement(answer, asked, view, NOW, plain())
}

fn verdict(filter: &str, passes: bool, text: &str) -> v1::FilterVerdict {
    v1::FilterVerdict { filter: filter.into(), passes, text: text.into() }
}

fn fitting(number: u32, rank: u32, terms: &[(&str, f64)]) -> v1::NodeExplanation {
    v1::NodeExplanation {
        node_id: node_id(number),
        node_name: format!("node-{number}"),
        fits: true,
        rank,
        verdicts: vec![
            verdict("memory", true, "memory: needs 2.0 GiB, 3.5 GiB free"),
            verdict("constraint", true, "constraint node.labels.disk == ssd"),
        ],
        cost: terms.iter().map(|(_, value)| value).sum(),
        terms: terms.iter().map(|(name, value)| v1::ScoreTerm { name: (*name).into(), value: *value }).collect(),
    }
}

fn unfit(number: u32, verdicts: Vec<v1::FilterVerdict>) -> v1::NodeExplanation {
    v1::NodeExplanation {
        node_id: node_id(number),
        node_name: format!("node-{number}"),
        verdicts,
        ..Default::default()
    }
}

fn lacks_memory(number: u32) -> v1::NodeExplanation {
    let free = format!("memory: needs 2.0 GiB, 1.{} GiB free", number % 10);
    unfit(number, vec![verdict("cpu", true, "cpu: needs 1, 3 free"), verdict("memory", false, &free)])
}

fn hdd(number: u32) -> v1::NodeExplanation {
    unfit(
        number,
        vec![
            verdict("memory", false, "memory: needs 2.0 GiB, 512.0 MiB free"),
            verdict("constraint", false, "constraint node.labels.disk == ssd"),
        ],
    )
}

fn explanation(summary: &str, nodes: Vec<v1::NodeExplanation>) -> Option<v1::PlacementExplanation> {
    let fitting_count = u32::try_from(nodes.iter().filter(|node| node.fits).count()).unwrap();
    Some(v1::PlacementExplanation {
        summary: summary.into(),
        fitting_count,
        node_count: u32::try_from(nodes.len()).unwrap(),
        algorithm: "spread".into(),
        nodes,
    })
}

fn four_nodes() -> Option<v1::PlacementExplanation> {
    explanation(
        "fits 2 of 4 nodes: 2 lack memory, 1 fails constraint node.labels.disk == ssd",
        vec![
            fitting(4, 1, &[("tasks", 1.0), ("cpu", 0.125), ("prefer disk == ssd", -0.5)]),
            fitting(2, 2, &[("tasks", 2.0), ("cpu", 0.25)]),
            lacks_memory(1),
            hdd(3),
        ],
    )
}

#[test]
fn a_waiting_task_is_explained_best_node_first() {
    let answer = v1::ExplainTaskResponse {
        task: Some(task(1, "web", v1::TaskState::Pending)),
        explanation: four_nodes(),
        ..Default::default()
    };
    insta::assert_snapshot!(explained_task(&answer, &BTreeMap::new(), PLAIN, NOW, plain()));
}

#[test]
fn what_holds_up_everything_is_told_of_a_task_that_waits() {
    let answer = v1::ExplainTaskResponse {
        task: Some(task(1, "web", v1::TaskState::Pending)),
        explanation: four_nodes(),
        held_up_by: "the store can't be used: No space left on device (os error 28)".into(),
        ..Default::default()
    };
    let text = explained_task(&answer, &BTreeMap::new(), PLAIN, NOW, plain());
    let told = "Nothing is placed now: the store can't be used: No space left on device (os error 28).";
    assert!(text.lines().any(|line| line == told), "{text}");
}

#[test]
fn a_running_task_is_shown_where_it_is() {
    let mut running = running_task();
    running.status.get_or_insert_default().node_id = node_id(2);
    let answer = v1::ExplainTaskResponse { task: Some(running), explanation: four_nodes(), ..Default::default() };
    insta::assert_snapshot!(explained_task(&answer, &BTreeMap::new(), PLAIN, NOW, plain()));
}

fn first_lines(task: v1::Task, count: usize) -> Vec<String> {
    let answer = v1::ExplainTaskResponse { task: Some(task), explanation: four_nodes(), ..Default::default() };
    let text = explained_task(&answer, &BTreeMap::new(), PLAIN, NOW, plain());
    text.lines().take(count).map(str::to_owned).collect()
}

#[test]
fn what_a_task_waits_for_comes_first() {
    let waiting = |reason: &str, claimed: &str| {
        let mut waiting = task(1, "web", v1::TaskState::Pending);
        waiting.status.get_or_insert_default().reason = reason.into();
        let claim = v1::PlacementClaim { node_id: node_id(4), reason: claimed.into() };
        waiting.claim = Some(claim).filter(|_| !claimed.is_empty());
        waiting
    };
    let gang = "needs room for all 8 at once, 5 fit";
    assert_eq!(
        first_lines(waiting(gang, ""), 2),
        [&format!("web 000000000001 is PENDING: {gang}")[..], &four_nodes().unwrap().summary]
    );
    let stopped = "fits 0 of 4 nodes; 2 tasks are stopped for it on node-4";
    assert_eq!(
        first_lines(waiting(stopped, "2 tasks are stopped for it on node-4"), 2),
        [&format!("web 000000000001 is PENDING: {stopped}"), "Room is kept for it on node-4."]
    );
    let mut backs_off = waiting("it failed", "");
    let soon = prost_types::Timestamp { seconds: NOW.as_second() + 7, nanos: 0 };
    backs_off.status.get_or_insert_default().next_attempt_time = Some(soon);
    assert_eq!(first_lines(backs_off, 1), ["web 000000000001 is PENDING: it failed; due in 7s"]);
}

#[test]
fn what_a_task_waits_for_is_not_said_twice() {
    let mut waiting = task(1, "web", v1::TaskState::Pending);
    waiting.status.get_or_insert_default().reason = four_nodes().unwrap().summary;
    let [first, second] = &first_lines(waiting, 2)[..] else { panic!("less than two lines") };
    assert!(first.starts_with("web 000000000001 is PENDING: fits 2 of 4 nodes: "), "{first}");
    assert_eq!(second, "");
}

#[test]
fn a_task_on_the_move_is_told_where_it_goes() {
    let claim = v1::PlacementClaim { node_id: node_id(4), reason: "moved to node-4: evens out the cluster".into() };
    let moving = v1::Task { claim: Some(claim), ..running_task() };
    assert_eq!(first_lines(moving, 2)[1], "It moves to node-4: evens out the cluster.");
}

#[test]
fn a_task_that_ended_is_nowhere() {
    let answer = v1::ExplainTaskResponse { task: Some(failed_task()), explanation: four_nodes(), ..Default::default() };
    let text = explained_task(&answer, &BTreeMap::new(), PLAIN, NOW, plain());
    assert!(text.starts_with("batch 000000000002 is FAILED; this is where it would go"), "{text}");
    assert!(!text.contains("(here)"), "{text}");
}

#[test]
fn what_if_begins_with_the_task_that_it_is_like() {
    let nodes = [node(1, "node-1")].iter().collect();
    let answer = v1::ExplainPlacementResponse { explanation: four_nodes(), ..Default::default() };
    for (like, first) in [
        (running_task(), "web 000000000001 is RUNNING on node-1; this is where another one like it would go.\nfits 2 "),
        (
            task(3, "big", v1::TaskState::Pending),
            "big 000000000003 is PENDING.\nThis is where another one like it would go.\nfits 2 ",
        ),
    ] {
        let asked = Asked { count: 1, like: Some(&like), nodes: &nodes, victims: &BTreeMap::new() };
        let text = explained_placement(&answer, asked, PLAIN, NOW, plain());
        assert!(text.starts_with(first), "{text}");
    }
}

#[test]
fn nodes_that_cost_the_same_share_their_rank() {
    let alike = |number, rank, cost| fitting(number, rank, &[("tasks", cost)]);
    let nodes = vec![alike(4, 1, -0.0), alike(2, 2, 0.0), alike(3, 3, 0.5), alike(1, 4, 0.75), alike(5, 5, 0.75)];
    let answer = v1::ExplainPlacementResponse {
        explanation: explanation("fits 5 of 5 nodes", nodes),
        runs: [3, 5, 4].map(|number| v1::PlacementRun { node_id: node_id(number), count: 1 }).into(),
        ..Default::default()
    };
    insta::assert_snapshot!(placement(&answer, 3, PLAIN));
}

#[test]
fn what_is_passed_is_shown_when_asked_for() {
    let answer = v1::ExplainTaskResponse {
        task: Some(task(1, "web", v1::TaskState::Pending)),
        explanation: four_nodes(),
        ..Default::default()
    };
    insta::assert_snapshot!(explained_task(
        &answer,
        &BTreeMap::new(),
        ExplainView { all: false, wide: true },
        NOW,
        plain()
    ));
}

#[test]
fn several_tasks_are_told_where_each_goes() {
    let answer = v1::ExplainPlacementResponse {
        explanation: four_nodes(),
        runs: vec![
            v1::PlacementRun { node_id: node_id(2), count: 1 },
            v1::PlacementRun { node_id: node_id(4), count: 3 },
        ],
        unplaced_count: 2,
        unplaced_reason: "fits 0 of 4 nodes: 4 lack memory".into(),
        preemptions: vec![v1::Preemption {
            node_id: node_id(3),
            victim_task_ids: vec![running_task().task_id, task(2, "x", v1::TaskState::Running).task_id],
            reason: "stops 2 tasks of priority 0 to 10 on node-3".into(),
        }],
    };
    insta::assert_snapshot!(placement(&answer, 6, PLAIN));
}

#[test]
fn one_task_that_fits_needs_no_list_of_where_it_goes() {
    let runs = vec![v1::PlacementRun { node_id: node_id(4), count: 1 }];
    let answer = v1::ExplainPlacementResponse { explanation: four_nodes(), runs, ..Default::default() };
    let text = placement(&answer, 1, PLAIN);
    assert!(!text.contains("WOULD GO TO"), "{text}");
}

#[test]
fn where_nothing_fits_there_is_only_why() {
    let answer = v1::ExplainPlacementResponse {
        explanation: explanation("fits 0 of 1 node: 1 lacks memory", vec![lacks_memory(1)]),
        unplaced_count: 1,
        ..Default::default()
    };
    insta::assert_snapshot!(placement(&answer, 1, PLAIN));
}

fn many_nodes() -> Option<v1::PlacementExplanation> {
    let mut nodes: Vec<_> = (1..=25).map(|rank| fitting(rank, rank, &[("tasks", f64::from(rank))])).collect();
    nodes.extend((26..=40).map(lacks_memory));
    nodes.extend((41..=70).map(hdd));
    nodes.push(unfit(71, vec![verdict("ready", false, "node is DOWN")]));
    explanation("fits 25 of 71 nodes", nodes)
}

#[test]
fn many_nodes_are_counted_by_what_they_fail() {
    let runs = (1..=25).map(|number| v1::PlacementRun { node_id: node_id(number), count: 4 }).collect();
    let answer = v1::ExplainPlacementResponse { explanation: many_nodes(), runs, ..Default::default() };
    insta::assert_snapshot!(placement(&answer, 100, PLAIN));
}

#[test]
fn all_nodes_have_a_line_when_asked_for() {
    let answer = v1::ExplainPlacementResponse { explanation: many_nodes(), ..Default::default() };
    let text = placement(&answer, 1, ExplainView { all: true, wide: false });
    assert!((1..=71).all(|number| text.contains(&format!("node-{number} "))), "{text}");
}

#[test]
fn no_cost_looks_like_minus_nothing() {
    let text = |value| amount(Some(value)).content();
    assert_eq!([text(-0.0), text(0.5), text(2.5e9), text(1e-9)], ["0", "0.5000", "2.500e9", "1.000e-9"]);
}

#[test]
fn a_waiting_gang_says_that_it_waits_for_all_although_one_would_fit() {
    let mut waiting = task(1, "web", v1::TaskState::Pending);
    waiting.status.get_or_insert_default().reason = "waiting to be placed".into();
    let answer = v1::ExplainTaskResponse {
        task: Some(waiting),
        explanation: four_nodes(),
        unplaced_count: 8,
        unplaced_reason: "needs room for all 8 at once, 5 fit".into(),
        ..Default::default()
    };
    let text = explained_task(&answer, &BTreeMap::new(), PLAIN, NOW, plain());
    assert!(text.ends_with("\nIt waits: needs room for all 8 at once, 5 fit.\n"), "{text}");
}

#[test]
fn room_that_becomes_free_anyway_is_told_without_a_task_that_is_stopped() {
    let freed = v1::Preemption {
        node_id: node_id(2),
        reason: "uses room that becomes free on node-2".into(),
        ..Default::default()
    };
    let answer = v1::ExplainTaskResponse {
        task: Some(task(1, "web", v1::TaskState::Pending)),
        explanation: four_nodes(),
        unplaced_count: 1,
        preemptions: vec![freed],
        ..Default::default()
    };
    let text = explained_task(&answer, &BTreeMap::new(), PLAIN, NOW, plain());
    assert!(text.contains("none") && text.contains("uses room that becomes free on node-2"), "{text}");
}
