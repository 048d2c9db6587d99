//! What is known of a cell outside of it: a few numbers for each class of its nodes, however many nodes there are.

use davit_core::constraint::{Attribute, Constraint, NodeAttributes};
use davit_core::labels::NodeLabels;
use davit_core::node::NodeState;
use davit_core::placement::{NodeView, Requirements};
use davit_core::resources::Resources;

/// Labels that tell classes of nodes apart. What demands anything else of a node can't be judged from outside: the cell is asked.
const CLASS_LABELS: [&str; 2] = ["disk", "gpu"];
/// Shares are told in these.
const MILLION: u128 = 1_000_000;

/// What is known of a cell outside of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Summary {
    classes: Vec<Class>,
}

/// Nodes that take tasks, and have the same values of [`CLASS_LABELS`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    labels: NodeLabels,
    allocatable: Resources,
    free: Resources,
    /// The most that any of them has free, of each resource by itself.
    largest_free: Resources,
}

/// Which class each node of a cell is of. Follows from what placements don't change, so a cell need not look at labels again.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes {
    empty: Vec<Class>,
    /// Of each node, in the order of the nodes.
    of: Vec<usize>,
}

impl Classes {
    /// Of these nodes.
    pub(super) fn new(nodes: &[NodeView]) -> Self {
        let mut empty: Vec<Class> = Vec::new();
        let class_of = |node: &NodeView| {
            let is_its = |class: &Class| CLASS_LABELS.iter().all(|key| class.labels.get(key) == node.labels.get(key));
            empty.iter().position(is_its).unwrap_or_else(|| {
                empty.push(Class::new(&node.labels));
                empty.len() - 1
            })
        };
        let of = nodes.iter().map(class_of).collect();
        Self { empty, of }
    }

    /// How these nodes are now; the same ones, in the same order.
    pub(super) fn summary(&self, nodes: &[NodeView]) -> Summary {
        let mut classes = self.empty.clone();
        let takes_tasks = |node: &NodeView| node.state == NodeState::Ready && !node.cordoned;
        for (node, at) in nodes.iter().zip(&self.of).filter(|(node, _)| takes_tasks(node)) {
            let (class, free) = (&mut classes[*at], node.free());
            class.allocatable = class.allocatable.saturating_add(node.allocatable);
            class.free = class.free.saturating_add(free);
            class.largest_free = class.largest_free.max_of_each(free);
        }
        Summary { classes }
    }
}

impl Summary {
    /// How many such tasks fit at most, when this was told. Never less than really fit; more where what is free lies scattered.
    pub(super) fn room(&self, requirements: &Requirements) -> u64 {
        self.suitable(requirements).map(|class| class.room(requirements)).fold(0, u64::saturating_add)
    }

    /// How full the nodes that come into question are with so many more such tasks: millionths of their scarcest resource.
    pub(super) fn load_with(&self, requirements: &Requirements, count: u32) -> u128 {
        let add = |sum: (Resources, Resources), class: &Class| {
            (sum.0.saturating_add(class.allocatable), sum.1.saturating_add(class.free))
        };
        let (total, free) = self.suitable(requirements).fold((Resources::ZERO, Resources::ZERO), add);
        let share = |of: fn(&Resources) -> u64| {
            let used = u128::from(of(&total).saturating_sub(of(&free)));
            let more = u128::from(of(&requirements.reservation)) * u128::from(count);
            (used + more) * MILLION / u128::from(of(&total)).max(1)
        };
        share(|amounts| amounts.cpu_millis)
            .max(share(|amounts| amounts.memory_bytes))
            .max(if requirements.reservation.disk_bytes == 0 { 0 } else { share(|amounts| amounts.disk_bytes) })
    }

    /// Takes off what the cell was just asked to place, so that it is not counted on twice before the next summary. Which
    /// nodes it chooses is not known: each class gives by what it has.
    pub(super) fn deduct(&mut self, requirements: &Requirements, count: u32) {
        let total = u128::from(self.room(requirements)).max(1);
        for class in self.classes.iter_mut().filter(|class| class.is_suitable(requirements)) {
            let share = u128::from(class.room(requirements));
            let taken = u128::from(count) * share / total;
            let times = |amount: u64| u64::try_from(u128::from(amount) * taken).unwrap_or(u64::MAX);
            let each = requirements.reservation;
            class.free = class.free.saturating_sub(Resources {
                cpu_millis: times(each.cpu_millis),
                memory_bytes: times(each.memory_bytes),
                disk_bytes: times(each.disk_bytes),
            });
        }
    }

    fn suitable<'a>(&'a self, requirements: &'a Requirements) -> impl Iterator<Item = &'a Class> {
        self.classes.iter().filter(|class| class.is_suitable(requirements))
    }
}

impl Class {
    fn new(labels: &NodeLabels) -> Self {
        let value = |key: &&str| Some(((*key).to_owned(), labels.get(key)?.to_owned()));
        Self {
            labels: CLASS_LABELS.iter().filter_map(value).collect(),
            allocatable: Resources::ZERO,
            free: Resources::ZERO,
            largest_free: Resources::ZERO,
        }
    }

    /// Whether no constraint rules its nodes out, as far as that can be told from outside.
    fn is_suitable(&self, requirements: &Requirements) -> bool {
        let attributes = NodeAttributes { name: "", os: "", arch: "", labels: &self.labels };
        let is_known = |constraint: &&Constraint| match &constraint.attribute {
            Attribute::Label(key) => CLASS_LABELS.contains(&key.as_str()),
            _ => false,
        };
        requirements.constraints.iter().filter(is_known).all(|constraint| constraint.is_satisfied_by(attributes))
    }

    fn room(&self, requirements: &Requirements) -> u64 {
        let each = requirements.reservation;
        if !each.fits_in(self.largest_free) {
            return 0;
        }
        let times = |free: u64, each: u64| free.checked_div(each).unwrap_or(u64::MAX);
        times(self.free.cpu_millis, each.cpu_millis)
            .min(times(self.free.memory_bytes, each.memory_bytes))
            .min(times(self.free.disk_bytes, each.disk_bytes))
    }
}

#[cfg(test)]
mod tests {
    use davit_core::constraint::Operator;
    use davit_core::id::NodeId;
    use davit_core::placement::RuntimeKind;
    use uuid::Uuid;

    use super::*;
    use crate::workload::labelled_node;

    fn cpu(cpu_millis: u64) -> Resources {
        Resources { cpu_millis, memory_bytes: 1 << 30, disk_bytes: 0 }
    }

    fn node(number: u32, cpu_millis: u64, disk: &str) -> NodeView {
        let labels = [("disk", disk), ("rack", "r1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let id = NodeId(Uuid::from_u128(number.into()));
        labelled_node(number, id, cpu(cpu_millis), labels.into_iter().collect())
    }

    fn demanding(key: &str, value: &str) -> Requirements {
        let constraint = Constraint {
            attribute: Attribute::Label(key.to_owned()),
            operator: Operator::Equal,
            values: vec![value.to_owned()],
        };
        let reservation = Resources { cpu_millis: 400, ..Resources::ZERO };
        Requirements { reservation, constraints: vec![constraint], ..Requirements::of_runtime(RuntimeKind::Docker) }
    }

    fn summary() -> Summary {
        let mut cordoned = node(4, 8_000, "ssd");
        cordoned.cordoned = true;
        let nodes = [node(1, 1_000, "ssd"), node(2, 1_000, "ssd"), node(3, 4_000, "hdd"), cordoned];
        Classes::new(&nodes).summary(&nodes)
    }

    #[test]
    fn room_is_that_of_the_classes_that_come_into_question() {
        let summary = summary();
        // Five by what is free; only four fit, two on each node: it never says less than fit.
        assert_eq!(summary.room(&demanding("disk", "ssd")), 5);
        assert_eq!(summary.room(&demanding("gpu", "yes")), 0);
        assert_eq!(summary.room(&demanding("rack", "r9")), 15, "only the cell knows its racks");
    }

    #[test]
    fn what_is_larger_than_every_node_has_no_room() {
        let mut large = demanding("disk", "ssd");
        large.reservation.cpu_millis = 1_001;
        assert_eq!(summary().room(&large), 0);
        large.reservation.cpu_millis = 1_000;
        assert_eq!(summary().room(&large), 2);
    }

    #[test]
    fn what_was_asked_for_is_counted_on_only_once() {
        let mut summary = summary();
        let any = demanding("rack", "r1");
        assert_eq!(summary.load_with(&any, 0), 0);
        assert_eq!(summary.load_with(&any, 3), 200_000);
        summary.deduct(&any, 3);
        assert!(summary.room(&any) <= 13 && summary.load_with(&any, 0) > 0);
        summary.deduct(&any, 1_000);
        assert_eq!(summary.room(&any), 0);
    }
}
