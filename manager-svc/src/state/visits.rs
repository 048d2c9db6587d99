//! How much of the cluster was looked at: what grows with what exists although little changes is a scan that should not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many tasks and nodes were handed out by what goes over them. All versions of a cluster share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Visits {
    tasks: Arc<AtomicU64>,
    nodes: Arc<AtomicU64>,
}

/// How many tasks and nodes were visited since the manager started. One that is asked for by its id or name is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Visited {
    /// Tasks.
    pub tasks: u64,
    /// Nodes.
    pub nodes: u64,
}

impl Visits {
    pub(super) fn so_far(&self) -> Visited {
        Visited { tasks: self.tasks.load(Ordering::Relaxed), nodes: self.nodes.load(Ordering::Relaxed) }
    }

    pub(super) fn note_nodes(&self, count: u64) {
        self.nodes.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts tasks as they are handed out.
    pub(super) fn of_tasks<I: Iterator>(&self, tasks: I) -> Counted<'_, I> {
        Counted { handed_out: tasks, count: 0, total: &self.tasks }
    }

    /// The same of nodes.
    pub(super) fn of_nodes<I: Iterator>(&self, nodes: I) -> Counted<'_, I> {
        Counted { handed_out: nodes, count: 0, total: &self.nodes }
    }
}

/// Counts what an iterator hands out; told at its end, so that the threads that look do not get in each other's way at each item.
pub(super) struct Counted<'a, I> {
    handed_out: I,
    count: u64,
    total: &'a AtomicU64,
}

impl<I: Iterator> Iterator for Counted<'_, I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let next = self.handed_out.next();
        self.count += u64::from(next.is_some());
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.handed_out.size_hint()
    }
}

impl<I> Drop for Counted<'_, I> {
    fn drop(&mut self) {
        self.total.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::test_support::{Cluster, node_id, spec};

    #[test]
    fn what_is_handed_out_counts_and_what_is_left_in_the_iterator_does_not() {
        let mut cluster = Cluster::new(3);
        let older = cluster.state.clone();
        for _ in 0..3 {
            cluster.running(spec(), 1);
        }
        let counted = |look: &dyn Fn() -> usize| {
            let before = cluster.state.visited();
            look();
            let after = cluster.state.visited();
            assert_eq!(after, older.visited(), "versions share the counters");
            (after.tasks - before.tasks, after.nodes - before.nodes)
        };
        let state = &cluster.state;
        assert_eq!(counted(&|| state.tasks().take(2).count()), (2, 0));
        assert_eq!(counted(&|| state.tasks_after(None).count()), (3, 0));
        assert_eq!(counted(&|| state.tasks_on(node_id(1)).count()), (3, 0));
        let named = |name| state.nodes().position(|node| node.description.name == name);
        assert_eq!(counted(&|| named("node-2").unwrap()), (0, 2));
        assert_eq!(counted(&|| state.nodes_after(Some("node-1")).count()), (0, 2));
        assert_eq!(counted(&|| state.node(node_id(1)).iter().chain(&state.find_node("node-3")).count()), (0, 0));
    }
}
