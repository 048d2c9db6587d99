use super::*;
use crate::output::test_support::{node_id, running_task, task};

const PLAIN: ExplainView = ExplainView { all: false, wide: false };

fn plain() -> Palette {
    Palette::new(false)
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
    insta::assert_snapshot!(explained_task(&answer, PLAIN, plain()));
}

#[test]
fn a_running_task_is_shown_where_it_is() {
    let mut running = running_task();
    running.status.get_or_insert_default().node_id = node_id(2);
    let answer = v1::ExplainTaskResponse { task: Some(running), explanation: four_nodes(), ..Default::default() };
    insta::assert_snapshot!(explained_task(&answer, PLAIN, plain()));
}

#[test]
fn what_is_passed_is_shown_when_asked_for() {
    let answer = v1::ExplainTaskResponse {
        task: Some(task(1, "web", v1::TaskState::Pending)),
        explanation: four_nodes(),
        ..Default::default()
    };
    insta::assert_snapshot!(explained_task(&answer, ExplainView { all: false, wide: true }, plain()));
}

#[test]
fn several_tasks_are_told_where_each_goes() {
    let answer = v1::ExplainPlacementResponse {
        explanation: four_nodes(),
        runs: vec![
            v1::PlacementRun { node_id: node_id(4), count: 3 },
            v1::PlacementRun { node_id: node_id(2), count: 1 },
        ],
        unplaced_count: 2,
        unplaced_reason: "fits 0 of 4 nodes: 4 lack memory".into(),
        preemptions: vec![v1::Preemption {
            node_id: node_id(3),
            victim_task_ids: vec![running_task().task_id, task(2, "x", v1::TaskState::Running).task_id],
            reason: "stops 2 tasks of priority 0 to 10 on node-3".into(),
        }],
    };
    insta::assert_snapshot!(explained_placement(&answer, 6, PLAIN, plain()));
}

#[test]
fn one_task_that_fits_needs_no_list_of_where_it_goes() {
    let runs = vec![v1::PlacementRun { node_id: node_id(4), count: 1 }];
    let answer = v1::ExplainPlacementResponse { explanation: four_nodes(), runs, ..Default::default() };
    let text = explained_placement(&answer, 1, PLAIN, plain());
    assert!(!text.contains("WOULD GO TO"), "{text}");
}

#[test]
fn where_nothing_fits_there_is_only_why() {
    let answer = v1::ExplainPlacementResponse {
        explanation: explanation("fits 0 of 1 node: 1 lacks memory", vec![lacks_memory(1)]),
        unplaced_count: 1,
        ..Default::default()
    };
    insta::assert_snapshot!(explained_placement(&answer, 1, PLAIN, plain()));
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
    insta::assert_snapshot!(explained_placement(&answer, 100, PLAIN, plain()));
}

#[test]
fn all_nodes_have_a_line_when_asked_for() {
    let answer = v1::ExplainPlacementResponse { explanation: many_nodes(), ..Default::default() };
    let text = explained_placement(&answer, 1, ExplainView { all: true, wide: false }, plain());
    assert!((1..=71).all(|number| text.contains(&format!("node-{number} "))), "{text}");
}

#[test]
fn no_cost_looks_like_minus_nothing() {
    let text = |value| amount(Some(value)).content();
    assert_eq!([text(-0.0), text(0.5), text(2.5e9), text(1e-9)], ["0", "0.5000", "2.500e9", "1.000e-9"]);
}
