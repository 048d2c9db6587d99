//! What is reserved on each node, added up from the tasks themselves, so that a mistake in the manager's sums hides nothing.

use std::collections::{BTreeMap, HashMap};

use davit_proto::v1;

/// What the tasks of one node reserve.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    tasks: u32,
    reserved: v1::Resources,
}

/// What is reserved, by the nodes' ids.
#[derive(Debug, Default)]
pub(super) struct Reserved(HashMap<String, Sum>);

impl Reserved {
    /// A task that has a node and has not ended keeps what it reserves there.
    pub(super) fn add(&mut self, task: &v1::Task) {
        let Some(status) = task.status.as_ref().filter(|status| holds(status)) else { return };
        let resources = task.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        let one = resources.and_then(|resources| resources.reservation).unwrap_or_default();
        // Not to have a node's id anew for each of a million tasks.
        if !self.0.contains_key(&status.node_id) {
            self.0.insert(status.node_id.clone(), Sum::default());
        }
        if let Some(sum) = self.0.get_mut(&status.node_id) {
            sum.tasks += 1;
            sum.reserved = plus(sum.reserved, one);
        }
    }

    /// Nodes with more reserved than they have room for, or with anything but what the manager says, and reservations of no node.
    pub(super) fn wrong(&self, nodes: &BTreeMap<String, v1::Node>) -> Vec<String> {
        let mut over = Vec::new();
        let mut differ = Vec::new();
        for (node_id, node) in nodes {
            let sum = self.0.get(node_id).copied().unwrap_or_default();
            let (room, told) = (node.allocatable.unwrap_or_default(), node.allocated.unwrap_or_default());
            if !fits(sum.reserved, room) {
                over.push(format!("{} with {} of {}", node.name, shown(sum.reserved), shown(room)));
            }
            if sum != (Sum { tasks: node.task_count, reserved: told }) {
                let (own, manager) = (shown(sum.reserved), shown(told));
                differ.push(format!(
                    "{} with {} tasks and {own}, and not {} and {manager}",
                    node.name, sum.tasks, node.task_count
                ));
            }
        }
        let strange: Vec<_> = self.0.keys().filter(|node_id| !nodes.contains_key(*node_id)).cloned().collect();
        let wrong = [
            ("nodes are over-committed", over),
            ("nodes have other tasks than the manager counts", differ),
            ("nodes that are not listed have tasks", strange),
        ];
        let told = |(what, those): (&str, Vec<String>)| {
            those.first().map(|first| format!("{} {what}, such as {first}", those.len()))
        };
        wrong.into_iter().filter_map(told).collect()
    }
}

/// Whether something is set aside for it on the node that it names.
fn holds(status: &v1::TaskStatus) -> bool {
    use v1::TaskState::{Preparing, Running, Scheduled, Stopping};
    !status.node_id.is_empty() && [Scheduled, Preparing, Running, Stopping].contains(&status.state())
}

fn plus(sum: v1::Resources, one: v1::Resources) -> v1::Resources {
    v1::Resources {
        cpu_millis: sum.cpu_millis.saturating_add(one.cpu_millis),
        memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
        disk_bytes: sum.disk_bytes.saturating_add(one.disk_bytes),
    }
}

fn fits(wanted: v1::Resources, room: v1::Resources) -> bool {
    wanted.cpu_millis <= room.cpu_millis
        && wanted.memory_bytes <= room.memory_bytes
        && wanted.disk_bytes <= room.disk_bytes
}

fn shown(v1::Resources { cpu_millis, memory_bytes, disk_bytes }: v1::Resources) -> String {
    format!("{cpu_millis} millicores, {memory_bytes} bytes of memory, {disk_bytes} of disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(cpu_millis: u64, memory_bytes: u64, disk_bytes: u64) -> v1::Resources {
        v1::Resources { cpu_millis, memory_bytes, disk_bytes }
    }

    fn task(node_id: &str, state: v1::TaskState, reservation: v1::Resources) -> v1::Task {
        let resources = v1::ResourceRequirements { reservation: Some(reservation), limit: None };
        v1::Task {
            spec: Some(v1::TaskSpec { resources: Some(resources), ..Default::default() }),
            status: Some(v1::TaskStatus { state: state.into(), node_id: node_id.to_owned(), ..Default::default() }),
            ..Default::default()
        }
    }

    /// With room for 100 of each.
    fn node(name: &str, task_count: u32, allocated: v1::Resources) -> (String, v1::Node) {
        let node = v1::Node {
            node_id: name.to_owned(),
            name: name.to_owned(),
            allocated: Some(allocated),
            allocatable: Some(resources(100, 100, 100)),
            task_count,
            ..Default::default()
        };
        (name.to_owned(), node)
    }

    fn wrong(tasks: &[v1::Task], nodes: impl IntoIterator<Item = (String, v1::Node)>) -> Vec<String> {
        let mut reserved = Reserved::default();
        tasks.iter().for_each(|task| reserved.add(task));
        reserved.wrong(&nodes.into_iter().collect())
    }

    #[test]
    fn tasks_that_have_not_ended_count_and_a_full_node_is_right() {
        let each = resources(25, 20, 10);
        let held =
            [v1::TaskState::Scheduled, v1::TaskState::Preparing, v1::TaskState::Running, v1::TaskState::Stopping];
        let ended = [v1::TaskState::Completed, v1::TaskState::Failed, v1::TaskState::Stopped, v1::TaskState::Lost];
        let mut tasks: Vec<_> = held.into_iter().chain(ended).map(|state| task("a", state, each)).collect();
        tasks.push(task("", v1::TaskState::Pending, each));
        let nodes = [node("a", 4, resources(100, 80, 40)), node("empty", 0, resources(0, 0, 0))];
        assert_eq!(wrong(&tasks, nodes), Vec::<String>::new());
    }

    #[test]
    fn too_much_of_anything_is_told_although_the_manager_counts_it_rightly() {
        for much in [resources(101, 0, 0), resources(0, 101, 0), resources(0, 0, 101)] {
            let wrong = wrong(&[task("a", v1::TaskState::Running, much)], [node("a", 1, much)]);
            assert_eq!(wrong.len(), 1);
            assert!(wrong[0].starts_with("1 nodes are over-committed, such as a with "), "{wrong:?}");
        }
    }

    #[test]
    fn too_much_is_told_where_the_manager_counts_too_little() {
        let tasks = [1, 2].map(|_| task("a", v1::TaskState::Running, resources(60, 1, 0)));
        let wrong = wrong(&tasks, [node("a", 1, resources(60, 1, 0))]);
        assert_eq!(
            wrong,
            [
                "1 nodes are over-committed, such as a with 120 millicores, 2 bytes of memory, 0 of disk of \
                 100 millicores, 100 bytes of memory, 100 of disk",
                "1 nodes have other tasks than the manager counts, such as a with 2 tasks and 120 millicores, 2 bytes of \
                 memory, 0 of disk, and not 1 and 60 millicores, 1 bytes of memory, 0 of disk",
            ]
        );
    }

    #[test]
    fn another_count_or_sum_and_a_node_that_is_not_listed_are_told() {
        let one = resources(1, 1, 1);
        let tasks = [task("a", v1::TaskState::Running, one)];
        assert_eq!(wrong(&tasks, [node("a", 2, one)]).len(), 1);
        assert_eq!(wrong(&tasks, [node("a", 1, resources(1, 1, 2))]).len(), 1);
        assert_eq!(wrong(&[], [node("a", 0, one), node("b", 1, resources(0, 0, 0))])[0].split(' ').next(), Some("2"));
        assert_eq!(wrong(&tasks, []), ["1 nodes that are not listed have tasks, such as a"]);
    }
}
