//! Answers of a manager that may say anything, in all ways in which they are shown.

use std::collections::BTreeMap;

use davit_proto::v1;
use jiff::Timestamp;
use prost::Message;
use serde_json::Value;

use super::visible::visible;
use super::{Asked, Described, ExplainView, KnownNodes, Palette, PlanView, TasksView};

/// 2026-11-25T12:00:00Z.
const NOW: Timestamp = Timestamp::constant(1_795_608_000, 0);

/// A message: a byte that says of what kind, then its bytes. Says whether it is one.
///
/// # Panics
/// When something that a terminal would obey is shown to a person, or JSON and YAML don't say the same.
pub(crate) fn answer(bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    let view = ExplainView { all: kind & 0x80 != 0, wide: kind & 0x40 != 0 };
    let deployment = v1::Deployment::default();
    let tasks_view = TasksView { whole_details: view.all, deployment: view.wide.then_some(&deployment) };
    let (nodes, victims) = (KnownNodes::default(), BTreeMap::new());
    // An input's first byte says which: only ever append.
    match kind & 0x3f {
        0 => shown(bytes, |task, palette| {
            super::task(task, &nodes, NOW, palette)
                + &super::tasks_table(std::slice::from_ref(task), &nodes, NOW, tasks_view, palette)
        }),
        1 => shown(bytes, |node, palette| {
            super::node(node, NOW, palette) + &super::nodes_table(std::slice::from_ref(node), NOW, palette)
        }),
        2 => shown(bytes, super::event_line),
        3 => shown(bytes, super::cluster),
        4 => shown(bytes, |explained, palette| super::explained_task(explained, &victims, view, NOW, palette)),
        5 => shown(bytes, |explained: &v1::ExplainPlacementResponse, palette| {
            let asked = Asked { count: 3, like: None, nodes: &nodes, victims: &victims };
            super::explained_placement(explained, asked, view, NOW, palette)
        }),
        6 => shown(bytes, |plan, palette| super::plan(plan, PlanView { is_applied: view.all, budget: 2 }, palette)),
        _ => false,
    }
}

fn shown<M: Message + Default + Described>(bytes: &[u8], text: impl Fn(&M, Palette) -> String) -> bool {
    let Ok(message) = M::decode(bytes) else { return false };
    let plain = text(&message, Palette::new(false));
    let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!visible(&plain, false).contains(is_obeyed), "{plain:?}");
    let colored = text(&message, Palette::new(true));
    for rest in visible(&colored, true).split('\u{1b}').skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '[' | ';'));
        assert_eq!(end.map(|end| &rest[end..=end]), Some("m"), "{colored:?}");
    }
    match (super::json_object(&message), super::yaml_document(&message)) {
        (Ok(json), Ok(yaml)) => {
            let read: Result<Value, _> = serde_json::from_str(&json);
            let again: Result<Value, _> = serde_saphyr::from_str(&yaml);
            assert!(read.is_ok() && again.is_ok(), "{read:?}\n{again:?}");
            assert!(read.ok().zip(again.ok()).is_some_and(|(json, yaml)| is_same(&json, &yaml)), "{json}\n{yaml}");
        }
        // Times that are none can't be written.
        (Err(json), Err(yaml)) => assert!(!json.to_string().is_empty() && !yaml.to_string().is_empty()),
        (json, yaml) => panic!("only one can be written: {json:?}, {yaml:?}"),
    }
    true
}

/// The reader of JSON may be off by the last digit of a number.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            (one - other).abs() <= one.abs() * 1e-12
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same_field = |(key, value)| other.get(key).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(same_field)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::super::test_support::{failed_task, node, one_move, running_task};
    use super::*;

    #[test]
    fn every_seed_of_answers_is_shown_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("answer");
        for seed in &seeds {
            assert!(answer(seed), "{seed:?}");
        }
        for_each_mutation(&seeds, 200, |bytes| {
            answer(bytes);
        });
    }

    fn explanation() -> v1::PlacementExplanation {
        let term = v1::ScoreTerm { name: "reserved".to_owned(), value: 0.25 };
        let verdict =
            v1::FilterVerdict { filter: "cpu".to_owned(), passes: false, text: "cpu: needs 2, 1 free".to_owned() };
        let named = |number| (node(number, "n").node_id, format!("node-{number}"));
        let explained = |number, fits: bool| v1::NodeExplanation {
            node_id: named(number).0,
            node_name: named(number).1,
            fits,
            rank: u32::from(fits),
            cost: 0.25,
            terms: fits.then(|| term.clone()).into_iter().collect(),
            verdicts: vec![v1::FilterVerdict { passes: fits, ..verdict.clone() }],
        };
        v1::PlacementExplanation {
            nodes: vec![explained(1, true), explained(2, false)],
            node_count: 2,
            fitting_count: 1,
            algorithm: "spread".to_owned(),
            summary: "fits 1 of 2 nodes: 1 lacks cpu".to_owned(),
        }
    }

    #[test]
    #[ignore = "writes fuzz/corpus/answer; after a change of the messages"]
    fn the_seeds_are_written() {
        let problem = v1::RuntimeProblem { kind: 1, problem: "silent".to_owned(), start_time: None };
        let node = v1::Node { runtime_problems: vec![problem], ..node(1, "one") };
        let event = v1::Event {
            revision: 42,
            r#type: v1::EventType::TaskStateChanged.into(),
            message: "RUNNING on one".to_owned(),
            object: Some(v1::event::Object::Task(running_task())),
            ..Default::default()
        };
        let count = v1::TaskStateCount { state: v1::TaskState::Running.into(), count: 3 };
        let cluster = v1::Cluster { name: "prod".to_owned(), tasks: vec![count], ..Default::default() };
        let preemptions = vec![v1::Preemption { node_id: node.node_id.clone(), ..Default::default() }];
        let explained = v1::ExplainTaskResponse {
            task: Some(running_task()),
            explanation: Some(explanation()),
            preemptions: preemptions.clone(),
            ..Default::default()
        };
        let runs = vec![v1::PlacementRun { node_id: node.node_id.clone(), count: 2 }];
        let placement = v1::ExplainPlacementResponse {
            explanation: Some(explanation()),
            runs,
            preemptions,
            unplaced_count: 1,
            unplaced_reason: "1 lacks cpu".to_owned(),
        };
        let plan = v1::PlanRebalanceResponse {
            moves: vec![one_move(0.12)],
            imbalance_before: 0.75,
            more: true,
            note: "2 tasks stay".to_owned(),
            ..Default::default()
        };
        let messages = [
            ("task", failed_task().encode_to_vec()),
            ("node", node.encode_to_vec()),
            ("event", event.encode_to_vec()),
            ("cluster", cluster.encode_to_vec()),
            ("explained-task", explained.encode_to_vec()),
            ("explained-placement", placement.encode_to_vec()),
            ("plan", plan.encode_to_vec()),
        ];
        for (kind, (name, message)) in (0u8..).zip(messages) {
            write_seed("answer", name, &[&[kind], message.as_slice()].concat());
        }
    }
}
