//! The nodes as they would be if some were otherwise. Pure.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::id::NodeId;
use davit_core::labels::NodeLabels;
use davit_core::node::{NodeState, NodeStats};
use davit_core::placement::{NodeView, PortRange, RuntimeKind};
use davit_core::resources::Resources;
use davit_core::spec::check_name;
use davit_core::validate::Violations;
use davit_proto::convert::MAX_LABELS;

/// The labels in force of one node: the worker's and the user's.
const MAX_NODE_LABELS: usize = 2 * MAX_LABELS;

/// What if a node were otherwise. What is `None` or empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeOverride {
    /// Id or name of a node; another name adds one.
    pub(crate) node: String,
    /// Whether it is left out.
    pub(crate) absent: bool,
    /// Its state.
    pub(crate) state: Option<NodeState>,
    /// Whether it is cordoned.
    pub(crate) cordoned: Option<bool>,
    /// Labels beside its own. An empty value takes a label away.
    pub(crate) labels: BTreeMap<String, String>,
    /// What tasks may use of it.
    pub(crate) allocatable: Option<Resources>,
    /// What is set aside on it.
    pub(crate) reserved: Option<Resources>,
}

/// Applies overrides to the nodes of a cluster. Notes every one that makes no sense, by its place below `path`.
pub(crate) fn what_if(
    nodes: Vec<NodeView>,
    overrides: &[NodeOverride],
    path: &str,
    violations: &mut Violations,
) -> Vec<NodeView> {
    // A node of which nothing is known counts as busy where others were measured. One that is thought up is idle.
    let measured = nodes.iter().filter(|node| node.state == NodeState::Ready).find_map(|node| node.stats);
    let idle = measured.map(|NodeStats { measured_at, .. }| NodeStats {
        measured_at,
        cpu_used_millis: 0,
        memory_used_bytes: 0,
        disk_used_bytes: 0,
        load_1m: 0.0,
        running_tasks: 0,
    });
    let by_id: BTreeMap<NodeId, usize> = nodes.iter().enumerate().map(|(at, node)| (node.node_id, at)).collect();
    let by_name: BTreeMap<String, usize> = nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at)).collect();
    let find = |text: &str| {
        let by_id = text.parse().ok().and_then(|node_id: NodeId| by_id.get(&node_id));
        by_id.or_else(|| by_name.get(text)).copied()
    };
    let mut nodes: Vec<Option<NodeView>> = nodes.into_iter().map(Some).collect();
    let mut added: Vec<NodeView> = Vec::new();
    let (mut seen, mut seen_names) = (BTreeSet::new(), BTreeSet::new());
    for (index, change) in overrides.iter().enumerate() {
        let node_path = format!("{path}[{index}].node");
        let labels_path = format!("{path}[{index}].labels");
        if change.node.is_empty() {
            violations.add(node_path, "is needed");
        } else if let Some(at) = find(&change.node) {
            if !seen.insert(at) {
                violations.add(node_path, "is overridden twice");
            } else if change.absent {
                nodes[at] = None;
            } else if let Some(node) = &mut nodes[at] {
                change.apply(node, &labels_path, violations);
            }
        } else if let Some(mut node) = change.new_node(index, &node_path, violations) {
            if seen_names.insert(&change.node) {
                change.apply(&mut node, &labels_path, violations);
                node.stats = idle;
                added.push(node);
            } else {
                violations.add(node_path, "is added twice");
            }
        }
    }
    nodes.into_iter().flatten().chain(added).collect()
}

impl NodeOverride {
    fn apply(&self, node: &mut NodeView, labels_path: &str, violations: &mut Violations) {
        node.state = self.state.unwrap_or(node.state);
        node.cordoned = self.cordoned.unwrap_or(node.cordoned);
        node.allocatable = self.allocatable.unwrap_or(node.allocatable);
        node.reserved = self.reserved.unwrap_or(node.reserved);
        for (key, value) in &self.labels {
            if value.is_empty() {
                node.labels.remove(key);
            } else {
                node.labels.insert(key.clone(), value.clone());
            }
        }
        if node.labels.len() > MAX_NODE_LABELS {
            let count = node.labels.len();
            let problem = format!("a node has at most {MAX_NODE_LABELS} labels, this would have {count}");
            violations.add(labels_path, problem);
        }
    }

    /// The node that this one adds.
    fn new_node(&self, index: usize, node_path: &str, violations: &mut Violations) -> Option<NodeView> {
        // It comes from outside and may be of any length.
        let shown: String = self.node.chars().take(64).collect();
        if self.absent {
            violations.add(node_path, format!("there is no node `{}` to leave out", shown.escape_debug()));
            return None;
        }
        let Some(allocatable) = self.allocatable else {
            let shown = shown.escape_debug();
            violations.add(node_path, format!("there is no node `{shown}`; to add it, give `allocatable`"));
            return None;
        };
        violations.check(node_path, check_name(&self.node))?;
        Some(NodeView {
            node_id: id_of_added(index),
            name: self.node.clone(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            labels: NodeLabels::new(),
            state: NodeState::Ready,
            cordoned: false,
            runtimes: BTreeSet::from([RuntimeKind::Docker, RuntimeKind::Process]),
            allocatable,
            reserved: Resources::ZERO,
            host_ports: BTreeSet::new(),
            port_range: Some(PortRange::DEFAULT),
            promised_ports: 0,
            task_count: 0,
            marks: BTreeMap::new(),
            refused: BTreeMap::new(),
            stats: None,
            tasks: Vec::new(),
        })
    }
}

/// An id that no real node has (those are UUIDv7), the same for the same question.
fn id_of_added(index: usize) -> NodeId {
    let number = u128::try_from(index).unwrap_or(u128::MAX);
    NodeId(uuid::Builder::from_custom_bytes(number.to_be_bytes()).into_uuid())
}

#[cfg(test)]
mod tests {
    use davit_core::placement::test_support::{node, node_id, stats};

    use super::*;

    fn plain(node: &str) -> NodeOverride {
        NodeOverride { node: node.to_owned(), ..NodeOverride::default() }
    }

    fn problems(overrides: &[NodeOverride]) -> Vec<(String, String)> {
        let mut violations = Violations::new();
        what_if(vec![node(1), node(2)], overrides, "overrides", &mut violations);
        violations.0.into_iter().map(|one| (one.field, one.description)).collect()
    }

    fn applied(overrides: &[NodeOverride]) -> Vec<NodeView> {
        let mut violations = Violations::new();
        let nodes = what_if(vec![node(1), node(2)], overrides, "overrides", &mut violations);
        assert_eq!(violations, Violations::new());
        nodes
    }

    #[test]
    fn without_overrides_nothing_changes() {
        assert_eq!(applied(&[]), [node(1), node(2)]);
        assert_eq!(applied(&[plain("node-1")]), [node(1), node(2)]);
    }

    #[test]
    fn a_node_is_found_by_name_and_by_id() {
        let cordoned = |node: &str| NodeOverride { cordoned: Some(true), ..plain(node) };
        let expected = [NodeView { cordoned: true, ..node(1) }, node(2)];
        assert_eq!(applied(&[cordoned("node-1")]), expected);
        assert_eq!(applied(&[cordoned(&node_id(1).to_string())]), expected);
    }

    #[test]
    fn every_field_that_is_given_takes_the_place_of_what_is() {
        let amounts = |cpu_millis| Resources { cpu_millis, ..Resources::ZERO };
        let change = NodeOverride {
            state: Some(NodeState::Down),
            cordoned: Some(true),
            labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
            allocatable: Some(amounts(2)),
            reserved: Some(amounts(1)),
            ..plain("node-2")
        };
        let changed = applied(&[change]).remove(1);
        assert_eq!((changed.state, changed.cordoned), (NodeState::Down, true));
        assert_eq!((changed.allocatable, changed.reserved), (amounts(2), amounts(1)));
        assert_eq!(changed.labels.get("disk"), Some("ssd"));
    }

    #[test]
    fn an_empty_value_takes_a_label_away() {
        let mut labelled = node(1);
        labelled.labels.insert("disk".to_owned(), "ssd".to_owned());
        let change = NodeOverride { labels: BTreeMap::from([("disk".to_owned(), String::new())]), ..plain("node-1") };
        let mut violations = Violations::new();
        assert_eq!(what_if(vec![labelled], &[change], "overrides", &mut violations), [node(1)]);
    }

    #[test]
    fn an_absent_node_is_not_there() {
        assert_eq!(applied(&[NodeOverride { absent: true, ..plain("node-1") }]), [node(2)]);
    }

    #[test]
    fn a_new_name_with_an_amount_adds_a_ready_node_of_the_usual_kind() {
        let allocatable = Resources { cpu_millis: 1000, ..Resources::ZERO };
        let adds = |name: &str| NodeOverride { allocatable: Some(allocatable), ..plain(name) };
        let nodes = applied(&[adds("new-1"), adds("new-2")]);
        assert_eq!(nodes.len(), 4);
        let added = &nodes[2];
        assert_eq!((added.name.as_str(), added.state, added.allocatable), ("new-1", NodeState::Ready, allocatable));
        assert_eq!((added.os.as_str(), added.arch.as_str(), added.runtimes.len()), ("linux", "x86_64", 2));
        assert!(added.port_range.is_some());
        let ids: BTreeSet<_> = nodes.iter().map(|node| node.node_id).collect();
        assert_eq!(ids.len(), 4);
        assert_eq!(applied(&[adds("new-1"), adds("new-2")]), nodes);
    }

    #[test]
    fn a_node_that_is_added_is_idle_where_others_were_measured() {
        let allocatable = Resources { cpu_millis: 1000, ..Resources::ZERO };
        let change = [NodeOverride { allocatable: Some(allocatable), ..plain("new") }];
        assert_eq!(applied(&change)[2].stats, None);
        let measured = NodeView { stats: Some(stats(500, 5)), ..node(1) };
        let nodes = what_if(vec![measured], &change, "overrides", &mut Violations::new());
        assert_eq!(nodes[1].stats, Some(stats(0, 0)));
    }

    #[test]
    fn every_override_that_makes_no_sense_is_named_by_its_place() {
        let some = Some(Resources::ZERO);
        let overrides = [
            plain(""),
            plain("unknown"),
            NodeOverride { absent: true, allocatable: some, ..plain("unknown") },
            NodeOverride { allocatable: some, ..plain("no good") },
            plain("node-1"),
            plain(&node_id(1).to_string()),
            NodeOverride { allocatable: some, ..plain("new") },
            NodeOverride { allocatable: some, ..plain("new") },
        ];
        let problems = problems(&overrides);
        let fields: Vec<_> = problems.iter().map(|(field, _)| field.as_str()).collect();
        let expected = [0, 1, 2, 3, 5, 7].map(|index| format!("overrides[{index}].node"));
        assert_eq!(fields, expected);
        assert!(problems[1].1.contains("give `allocatable`"), "{}", problems[1].1);
        assert!(problems[2].1.contains("to leave out"), "{}", problems[2].1);
        assert!(problems[4].1.contains("twice"), "{}", problems[4].1);
    }

    #[test]
    fn a_node_gets_no_more_labels_than_a_real_one_may_have() {
        let labels = (0..=MAX_NODE_LABELS).map(|number| (format!("l{number}"), "x".to_owned())).collect();
        let problems = problems(&[NodeOverride { labels, ..plain("node-1") }]);
        assert_eq!(problems[0].0, "overrides[0].labels");
    }

    #[test]
    fn a_huge_name_is_not_repeated_whole() {
        assert!(problems(&[plain(&"x".repeat(1_000_000))])[0].1.len() < 200);
    }
}
