//! What the reason of a waiting task says apart from its numbers: so that a task is told anew only when it waits for something else.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// What nodes that may be used again at any moment are counted as.
const PASSING: [&str; 2] = ["are not ready", "are cordoned"];

/// What a reason says without the numbers of nodes, in any order. Two texts of [`Summary`](super::Summary) have the same cause if
/// the same filters fail; nodes that can't be used at the moment make a difference only where nothing else is lacking. Of texts of
/// another kind all digits are left out.
#[must_use]
pub fn cause_of(reason: &str) -> Cow<'_, str> {
    if !reason.contains(|letter: char| letter.is_ascii_digit()) {
        return Cow::Borrowed(reason);
    }
    if !reason.contains("fits ") {
        return Cow::Owned(reason.chars().filter(|letter| !letter.is_ascii_digit()).collect());
    }
    let (mut said, mut passing) = (BTreeSet::new(), BTreeSet::new());
    let mut is_lacking = false;
    for clause in reason.split([',', ';', ':']).map(str::trim) {
        if clause.starts_with("fits ") {
            said.insert("fits".to_owned());
            continue;
        }
        let Some(counted) = without_count(clause) else {
            said.insert(clause.to_owned());
            continue;
        };
        if PASSING.contains(&counted.as_str()) {
            passing.insert(counted);
        } else {
            // That some of a gang would fit is nothing that it lacks.
            is_lacking |= counted != "fit";
            said.insert(counted);
        }
    }
    if !is_lacking {
        said.append(&mut passing);
    }
    Cow::Owned(said.into_iter().collect::<Vec<_>>().join(", "))
}

/// What is said of a number of nodes, as it is said of many.
fn without_count(clause: &str) -> Option<String> {
    let (count, rest) = clause.split_once(' ')?;
    count.parse::<usize>().ok()?;
    let (verb, object) = rest.split_once(' ').unwrap_or((rest, ""));
    let verb = match verb {
        "lacks" => "lack",
        "is" => "are",
        "has" => "have",
        "fails" => "fail",
        other => other,
    };
    Some(if object.is_empty() { verb.to_owned() } else { format!("{verb} {object}") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::NodeState;
    use crate::placement::test_support::{any_node, any_requirements};
    use crate::placement::{Filter, Requirements, Summary, verdicts};

    fn same(one: &str, other: &str) -> bool {
        cause_of(one) == cause_of(other)
    }

    #[test]
    fn numbers_and_their_order_make_no_difference() {
        assert!(same("fits 0 of 1 node: 1 lacks cpu", "fits 0 of 5000 nodes: 5000 lack cpu"));
        assert!(same(
            "fits 0 of 12 nodes: 9 lack memory, 1 fails constraint node.labels.disk == ssd",
            "fits 0 of 12 nodes: 9 fail constraint node.labels.disk == ssd, 4 lack memory"
        ));
        let gang =
            |nodes| format!("needs room for all 3 at once, {nodes} fit; after those, fits 0 of 9 nodes: 9 lack cpu");
        assert!(same(&gang(1), &gang(2)));
        assert!(same("exited 1; attempt 2 in 1.5 s", "exited 1; attempt 13 in 20.0 s"));
    }

    #[test]
    fn what_is_lacking_makes_a_difference() {
        let cpu = "fits 0 of 2 nodes: 2 lack cpu";
        for other in [
            "fits 0 of 2 nodes: 2 lack memory",
            "fits 0 of 2 nodes: 2 lack cpu, 1 lacks memory",
            "fits 0 of 2 nodes: 2 are not ready",
            "no node has joined the cluster",
            "waiting to be placed",
            "needs room for all 3 at once, 1 fit; after those, fits 0 of 2 nodes: 2 lack cpu",
        ] {
            assert!(!same(cpu, other), "{other}");
        }
        let port = |port| format!("fits 0 of 2 nodes: 2 have host port {port}/tcp taken");
        assert!(!same(&port(80), &port(443)));
    }

    #[test]
    fn nodes_that_are_away_for_the_moment_count_only_where_nothing_else_is_lacking() {
        assert!(same("fits 0 of 3 nodes: 3 lack cpu", "fits 0 of 3 nodes: 2 lack cpu, 1 is not ready, 1 is cordoned"));
        assert!(!same("fits 0 of 3 nodes: 3 are not ready", "fits 0 of 3 nodes: 2 are cordoned, 1 is not ready"));
    }

    /// What nodes lack, of those that could be used.
    fn lacking(requirements: &Requirements, nodes: &[crate::placement::NodeView]) -> BTreeSet<String> {
        let usable = nodes.iter().filter(|node| node.state == NodeState::Ready);
        let failed = usable.flat_map(|node| verdicts(requirements, node)).filter(|verdict| !verdict.passes);
        let kept = failed.filter(|verdict| !matches!(verdict.filter, Filter::Ready | Filter::Cordoned));
        kept.map(|verdict| verdict.filter.to_string()).collect()
    }

    proptest! {
        #[test]
        fn other_filters_that_fail_are_another_cause(
            requirements in any_requirements(),
            nodes in prop::collection::vec(any_node(1), 1..4),
            others in prop::collection::vec(any_node(1), 1..4),
        ) {
            let (one, other) = (lacking(&requirements, &nodes), lacking(&requirements, &others));
            let texts = [&nodes, &others].map(|nodes| Summary::of(&requirements, nodes).to_string());
            if one != other {
                prop_assert!(!same(&texts[0], &texts[1]), "{:?}", texts);
            }
            let doubled: Vec<_> = nodes.iter().chain(&nodes).collect();
            prop_assert!(same(&texts[0], &Summary::of(&requirements, doubled).to_string()));
        }
    }
}
