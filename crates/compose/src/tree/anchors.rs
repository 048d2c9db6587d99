//! What anchors stand for, and what it costs to write it out.

use std::collections::HashMap;

use super::{Budget, MAX_DEPTH, Node, Value};

/// How large a tree is.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    text_bytes: usize,
    depth: usize,
}

impl Cost {
    fn of(node: &Node) -> Self {
        let mut cost = Self { nodes: 1, text_bytes: 0, depth: 0 };
        match &node.value {
            Value::Null => {}
            Value::Text(text) => cost.text_bytes = text.len(),
            Value::List(nodes) => nodes.iter().for_each(|node| cost.contains(node)),
            Value::Map(map) => {
                for (key, entry) in map {
                    cost.text_bytes += key.len();
                    cost.contains(&entry.node);
                }
            }
        }
        cost
    }

    fn contains(&mut self, node: &Node) {
        let inner = Self::of(node);
        self.nodes += inner.nodes;
        self.text_bytes += inner.text_bytes;
        self.depth = self.depth.max(inner.depth + 1);
    }
}

/// Why an alias can't be written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It stands inside of what it means.
    InsideItself,
    /// The tree would be too large.
    TooLarge,
    /// The tree would be too deep.
    TooDeep,
}

/// The anchors of one file.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    complete: HashMap<usize, (Node, Cost)>,
}

impl Anchors {
    /// Keeps what an anchor stands for. `None` if there is no room for it.
    pub(super) fn keep(&mut self, anchor: usize, node: &Node, budget: &mut Budget) -> Option<()> {
        if anchor == 0 {
            return Some(());
        }
        let cost = Cost::of(node);
        budget.spend(cost.nodes, cost.text_bytes)?;
        self.complete.insert(anchor, (node.clone(), cost));
        Some(())
    }

    /// What an alias stands for at a depth.
    pub(super) fn write_out(&self, anchor: usize, depth: usize, budget: &mut Budget) -> Result<Node, Refusal> {
        let (node, cost) = self.complete.get(&anchor).ok_or(Refusal::InsideItself)?;
        if depth + cost.depth > MAX_DEPTH {
            return Err(Refusal::TooDeep);
        }
        budget.spend(cost.nodes, cost.text_bytes).ok_or(Refusal::TooLarge)?;
        Ok(node.clone())
    }
}
