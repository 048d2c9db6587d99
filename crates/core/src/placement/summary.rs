//! One line for people on why a task could not be placed: the reason of a PENDING task.

use std::borrow::Cow;
use std::fmt;

use super::home::why_not_at_home;
use super::{Filter, NodeView, Requirements, fits};

/// Counts why nodes don't fit. A node that fails several filters counts under each of them, so that whoever reads
/// `3 lack memory, 3 lack cpu` does not free memory in vain. A node whose worker is not in touch counts only as that:
/// what else it lacks does not matter until it is back.
#[derive(Debug, Clone)]
pub struct Summary<'a> {
    requirements: Cow<'a, Requirements>,
    nodes: usize,
    fitting: usize,
    /// By filter; those of `Constraint` and `HostPort` stay zero, they are counted one by one below.
    failed: [usize; Filter::ALL.len()],
    /// By position in the requirements.
    constraints: Vec<usize>,
    /// By position in the requirements.
    host_ports: Vec<usize>,
    /// Why it does not fit on the one node that keeps it: all that there is to say then.
    at_home: Option<String>,
}

impl<'a> Summary<'a> {
    /// Looks at all given nodes.
    #[must_use]
    pub fn of<'n>(
        requirements: &'a Requirements,
        nodes: impl IntoIterator<Item = &'n NodeView, IntoIter: Clone>,
    ) -> Self {
        let mut summary = Self {
            requirements: Cow::Borrowed(requirements),
            nodes: 0,
            fitting: 0,
            failed: [0; Filter::ALL.len()],
            constraints: vec![0; requirements.constraints.len()],
            host_ports: vec![0; requirements.host_ports.len()],
            at_home: None,
        };
        let nodes = nodes.into_iter();
        if !requirements.homes.is_empty() {
            summary.at_home = why_not_at_home(requirements, nodes.clone());
        }
        for node in nodes {
            summary.add(node);
        }
        summary
    }

    /// Of nodes that were counted otherwise: `static_part` has looked at every node with a task that asks the same of a node's
    /// nature and nothing else; `short` of the READY nodes lack cpu, memory and disk; `fitting` have all that is needed. Only for
    /// requirements that no other filter says anything on.
    #[must_use]
    pub fn of_counts(
        requirements: &'a Requirements,
        static_part: &Summary<'_>,
        short: [usize; 3],
        fitting: usize,
    ) -> Self {
        let mut failed = static_part.failed;
        for (filter, count) in [Filter::Cpu, Filter::Memory, Filter::Disk].into_iter().zip(short) {
            if let Some(at) = Filter::ALL.iter().position(|known| *known == filter) {
                failed[at] = count;
            }
        }
        Self {
            requirements: Cow::Borrowed(requirements),
            nodes: static_part.nodes,
            fitting,
            failed,
            constraints: static_part.constraints.clone(),
            host_ports: Vec::new(),
            at_home: None,
        }
    }

    /// How many nodes were looked at.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many of them could take the task.
    #[must_use]
    pub fn fitting(&self) -> usize {
        self.fitting
    }

    /// The same with requirements of its own.
    #[must_use]
    pub fn into_owned(self) -> Summary<'static> {
        let Self { requirements, nodes, fitting, failed, constraints, host_ports, at_home } = self;
        let requirements = Cow::Owned(requirements.into_owned());
        Summary { requirements, nodes, fitting, failed, constraints, host_ports, at_home }
    }

    fn add(&mut self, node: &NodeView) {
        self.nodes += 1;
        if fits(&self.requirements, node) {
            self.fitting += 1;
            return;
        }
        let attributes = node.attributes();
        for (at, filter) in Filter::ALL.into_iter().enumerate() {
            match filter {
                Filter::Constraint => {
                    for (count, constraint) in self.constraints.iter_mut().zip(&self.requirements.constraints) {
                        *count += usize::from(!constraint.is_satisfied_by(attributes));
                    }
                }
                Filter::HostPort => {
                    for (count, port) in self.host_ports.iter_mut().zip(&self.requirements.host_ports) {
                        *count += usize::from(node.host_ports.contains(port));
                    }
                }
                _ => {
                    let failed = !filter.check(&self.requirements, node);
                    self.failed[at] += usize::from(failed);
                    if failed && filter == Filter::Ready {
                        return;
                    }
                }
            }
        }
    }

    /// Count and text of each reason that was seen, the most frequent first.
    fn reasons(&self) -> Vec<(usize, String)> {
        let mut reasons = Vec::new();
        for (at, filter) in Filter::ALL.into_iter().enumerate() {
            let count = self.failed[at];
            let (one, many, verb) = if count == 1 { ("lacks", "is", "has") } else { ("lack", "are", "have") };
            match filter {
                Filter::Ready => reasons.push((count, format!("{many} not ready"))),
                Filter::Cordoned => reasons.push((count, format!("{many} cordoned"))),
                Filter::Runtime => reasons.push((count, format!("{one} runtime {}", self.requirements.runtime))),
                Filter::Cpu | Filter::Memory | Filter::Disk => reasons.push((count, format!("{one} {filter}"))),
                Filter::Constraint => {
                    for (count, constraint) in self.constraints.iter().zip(&self.requirements.constraints) {
                        let verb = if *count == 1 { "fails" } else { "fail" };
                        reasons.push((*count, format!("{verb} constraint {constraint}")));
                    }
                }
                Filter::HostPort => {
                    for (count, (protocol, port)) in self.host_ports.iter().zip(&self.requirements.host_ports) {
                        let verb = if *count == 1 { "has" } else { "have" };
                        reasons.push((*count, format!("{verb} host port {port}/{protocol} taken")));
                    }
                }
                Filter::Platform => reasons.push((count, format!("{many} not {}", self.requirements.platform))),
                Filter::DynamicPort => reasons.push((count, format!("{one} dynamic ports"))),
                Filter::MaxPerNode => {
                    let text = self.requirements.max_per_node.as_ref().map(|one| match one.max {
                        1 => format!("{verb} a task with {} already", one.mark),
                        max => format!("{verb} {max} tasks with {} already", one.mark),
                    });
                    reasons.extend(text.map(|text| (count, text)));
                }
                Filter::TaskAffinity => reasons.push((count, format!("{one} the tasks it needs beside it"))),
                Filter::TaskAntiAffinity => reasons.push((count, format!("{verb} tasks it can't be beside"))),
                Filter::Colocation if self.requirements.homes.iter().all(|home| home.node.is_none()) => {
                    reasons.push((count, format!("{one} room for all of its group")));
                }
                Filter::Colocation | Filter::Volume => reasons.push((count, format!("{many} not where it is kept"))),
            }
        }
        reasons.retain(|(count, _)| *count > 0);
        // Stable: equal counts stay in the order of the filters.
        reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        reasons
    }
}

/// `fits 0 of 12 nodes: 5 lack memory, 4 fail constraint node.labels.disk == ssd, 3 are not ready`.
impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no node has joined the cluster");
        }
        if let Some(why) = &self.at_home {
            return f.write_str(why);
        }
        let noun = if self.nodes == 1 { "node" } else { "nodes" };
        write!(f, "fits {} of {} {noun}", self.fitting, self.nodes)?;
        for (at, (count, reason)) in self.reasons().into_iter().enumerate() {
            let separator = if at == 0 { ":" } else { "," };
            write!(f, "{separator} {count} {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::NodeState;
    use crate::placement::test_support::{any_node, any_requirements, node, requirements};
    use crate::spec::PortProtocol;

    #[test]
    fn the_most_frequent_reason_comes_first() {
        let mut wants = requirements();
        wants.constraints = vec!["disk == ssd".parse().unwrap()];
        let mut nodes: Vec<_> = (0..12).map(node).collect();
        for (at, node) in nodes.iter_mut().enumerate() {
            if at >= 4 {
                node.labels.insert("disk".to_owned(), "ssd".to_owned());
            }
            if (4..9).contains(&at) {
                node.reserved.memory_bytes = node.allocatable.memory_bytes;
            }
            if at >= 9 {
                node.state = NodeState::Down;
            }
        }
        assert_eq!(
            Summary::of(&wants, &nodes).to_string(),
            "fits 0 of 12 nodes: 5 lack memory, 4 fail constraint node.labels.disk == ssd, 3 are not ready"
        );
    }

    #[test]
    fn one_node_is_told_in_the_singular() {
        let mut wants = requirements();
        wants.host_ports = vec![(PortProtocol::Tcp, 80)];
        let mut full = node(1);
        full.cordoned = true;
        full.runtimes.clear();
        full.reserved.cpu_millis = full.allocatable.cpu_millis;
        full.host_ports.insert((PortProtocol::Tcp, 80));
        assert_eq!(
            Summary::of(&wants, [&full]).to_string(),
            "fits 0 of 1 node: 1 is cordoned, 1 lacks runtime docker, 1 lacks cpu, 1 has host port 80/tcp taken"
        );
    }

    #[test]
    fn a_down_node_counts_only_as_not_ready() {
        let mut down = node(1);
        down.state = NodeState::Down;
        down.cordoned = true;
        assert_eq!(Summary::of(&requirements(), [&down]).to_string(), "fits 0 of 1 node: 1 is not ready");
    }

    #[test]
    fn without_nodes_it_says_so() {
        assert_eq!(Summary::of(&requirements(), []).to_string(), "no node has joined the cluster");
    }

    #[test]
    fn when_all_fit_there_is_no_reason_to_tell() {
        assert_eq!(Summary::of(&requirements(), &[node(1), node(2)]).to_string(), "fits 2 of 2 nodes");
    }

    proptest! {
        #[test]
        fn every_node_that_does_not_fit_is_counted_for_a_reason(
            requirements in any_requirements(),
            nodes in prop::collection::vec(any_node(1), 1..8),
        ) {
            let summary = Summary::of(&requirements, &nodes);
            let unfit = nodes.iter().filter(|node| !fits(&requirements, node)).count();
            prop_assert_eq!(summary.nodes() - summary.fitting(), unfit);
            let told: usize = summary.reasons().iter().map(|(count, _)| count).sum();
            prop_assert!(told >= unfit);
        }
    }
}
