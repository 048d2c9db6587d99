//! What a task needs of a node, and what it would like.

use std::collections::{BTreeMap, BTreeSet};

use davit_core::constraint::Attribute;
use davit_core::placement::{
    Affinity, Home, HomeNode, HostPort, Keeper, MAX_RECENT_FAILURES, MAX_WEIGHT, Mark, MaxPerNode, Preferences,
    RecentFailures, Requirements, SpreadOver,
};
use davit_core::resources::Resources;
use davit_core::validate::Violations;

use super::common::parse_node_id;
use super::enums::{port_protocol_from_proto, port_protocol_to_proto, runtime_kind_from_proto, runtime_kind_to_proto};
use super::path::{FieldPath, field, item};
use super::port::port_number;
use super::resources::{resources_to_proto, task_amounts_from_proto};
use super::task_spec::{constraints_from_proto, expression_from_proto};
use crate::v1;

/// How many marks of one kind a task may have: its labels and its name.
const MAX_MARKS: usize = super::common::MAX_LABELS + 1;
/// How many things may keep a task on one node.
const MAX_HOMES: usize = 4096;
/// How many likes and dislikes of nodes a task may have.
const MAX_AFFINITIES: usize = 16;
/// Over how many attributes a task may be spread.
const MAX_SPREADS: usize = 4;
/// How much spreading over an attribute weighs unless it is said.
const DEFAULT_SPREAD_WEIGHT: u32 = 50;
/// How many marks a node may count.
const MAX_MARK_COUNTS: usize = 100_000;

pub(super) fn host_ports_from_proto(
    ports: &[v1::HostPort],
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> BTreeSet<HostPort> {
    let mut read = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = item(path, index);
        let protocol = port_protocol_from_proto(port.protocol, field(&path, "protocol"), violations);
        let number = port_number(port.port, &field(&path, "port"), violations);
        if let (Some(protocol), Some(number)) = (protocol, number)
            && !read.insert((protocol, number))
        {
            violations.add(path, format!("port {number}/{protocol} is given twice"));
        }
    }
    read
}

/// Writes a fixed port of a node.
#[must_use]
pub fn host_port_to_proto((protocol, port): HostPort) -> v1::HostPort {
    v1::HostPort { protocol: port_protocol_to_proto(protocol).into(), port: port.into() }
}

/// Reads marks; sorted, without repeats.
pub(super) fn marks_from_proto(
    texts: &[String],
    max: usize,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<Mark> {
    if texts.len() > max {
        violations.add(path, format!("has at most {max}, this has {}", texts.len()));
        return Vec::new();
    }
    let read = |(index, text): (usize, &String)| violations.check(item(path, index), text.parse::<Mark>());
    let mut marks: Vec<_> = texts.iter().enumerate().filter_map(read).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// Reads how many tasks carry each mark.
pub(super) fn mark_counts_from_proto(
    counts: &[v1::MarkCount],
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> BTreeMap<Mark, u32> {
    if counts.len() > MAX_MARK_COUNTS {
        violations.add(path, format!("has at most {MAX_MARK_COUNTS} marks, this has {}", counts.len()));
        return BTreeMap::new();
    }
    let mut read = BTreeMap::new();
    for (index, count) in counts.iter().enumerate() {
        let path = item(path, index);
        let Some(mark) = violations.check(field(&path, "mark"), count.mark.parse::<Mark>()) else { continue };
        if count.count == 0 {
            violations.add(field(&path, "count"), "is at least 1");
        } else if read.insert(mark, count.count).is_some() {
            violations.add(field(&path, "mark"), "is given twice");
        }
    }
    read
}

pub(super) fn mark_counts_to_proto(counts: &BTreeMap<Mark, u32>) -> Vec<v1::MarkCount> {
    counts.iter().map(|(mark, count)| v1::MarkCount { mark: mark.to_string(), count: *count }).collect()
}

/// Reads what a task needs of a node.
pub fn requirements_from_proto<'a>(
    requirements: &v1::PlacementRequirements,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Requirements> {
    let path = &path.into();
    let before = violations.0.len();
    let runtime = runtime_kind_from_proto(requirements.runtime, field(path, "runtime"), violations);
    let reservation = task_amounts_from_proto(requirements.reservation, &field(path, "reservation"), violations);
    let platform = violations.check(field(path, "platform"), requirements.platform.parse());
    let constraints = constraints_from_proto(&requirements.constraints, field(path, "constraints"), violations);
    let host_ports = host_ports_from_proto(&requirements.host_ports, &field(path, "host_ports"), violations);
    let max_per_node = match (requirements.max_per_node, requirements.max_per_node_mark.as_str()) {
        (0, "") => None,
        (0, _) => {
            violations.add(field(path, "max_per_node"), "is needed with max_per_node_mark");
            None
        }
        (max, text) => violations
            .check(field(path, "max_per_node_mark"), text.parse::<Mark>())
            .map(|mark| MaxPerNode { mark, max }),
    };
    let needs = marks_from_proto(&requirements.needed_marks, MAX_MARKS, &field(path, "needed_marks"), violations);
    let refuses = marks_from_proto(&requirements.refused_marks, MAX_MARKS, &field(path, "refused_marks"), violations);
    let marks = marks_from_proto(&requirements.marks, MAX_MARKS, &field(path, "marks"), violations);
    let homes = homes_from_proto(&requirements.homes, &field(path, "homes"), violations);
    let group_path = field(path, "group_reservation");
    let group_reservation = task_amounts_from_proto(requirements.group_reservation, &group_path, violations);
    let mut constraints = constraints?;
    constraints.sort();
    constraints.dedup();
    let requirements = Requirements {
        runtime: runtime?,
        reservation: reservation?,
        platform: platform?,
        constraints,
        host_ports: host_ports.into_iter().collect(),
        dynamic_ports: requirements.dynamic_port_count,
        max_per_node,
        needs,
        refuses,
        marks,
        homes,
        group_reservation: group_reservation?,
    };
    (violations.0.len() == before).then_some(requirements)
}

/// Writes what a task needs of a node.
#[must_use]
pub fn requirements_to_proto(requirements: &Requirements) -> v1::PlacementRequirements {
    let max_per_node = requirements.max_per_node.as_ref();
    v1::PlacementRequirements {
        runtime: runtime_kind_to_proto(requirements.runtime).into(),
        reservation: Some(resources_to_proto(requirements.reservation)),
        constraints: texts(&requirements.constraints),
        host_ports: requirements.host_ports.iter().copied().map(host_port_to_proto).collect(),
        platform: requirements.platform.to_string(),
        dynamic_port_count: requirements.dynamic_ports,
        max_per_node_mark: max_per_node.map(|one| one.mark.to_string()).unwrap_or_default(),
        max_per_node: max_per_node.map_or(0, |one| one.max),
        needed_marks: texts(&requirements.needs),
        refused_marks: texts(&requirements.refuses),
        marks: texts(&requirements.marks),
        homes: requirements.homes.iter().map(home_to_proto).collect(),
        group_reservation: (requirements.group_reservation != Resources::ZERO)
            .then(|| resources_to_proto(requirements.group_reservation)),
    }
}

/// Reads what keeps a task on one node; in order, each once.
fn homes_from_proto(homes: &[v1::PlacementHome], path: &FieldPath<'_>, violations: &mut Violations) -> Vec<Home> {
    if homes.len() > MAX_HOMES {
        violations.add(path, format!("has at most {MAX_HOMES}, this has {}", homes.len()));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(homes.len());
    for (index, home) in homes.iter().enumerate() {
        let path = item(path, index);
        let keeper = match &home.keeper {
            Some(v1::placement_home::Keeper::VolumeName(name)) => Keeper::Volume(name.clone()),
            Some(v1::placement_home::Keeper::Group(name)) => Keeper::Group(name.clone()),
            None => {
                violations.add(path, "needs volume_name or group");
                continue;
            }
        };
        let node_id = (!home.node_id.is_empty())
            .then(|| parse_node_id(&home.node_id, field(&path, "node_id"), violations))
            .flatten();
        read.push(Home { keeper, node: node_id.map(|node_id| HomeNode { node_id, name: home.node_name.clone() }) });
    }
    read.sort_unstable();
    read.dedup();
    read
}

fn home_to_proto(home: &Home) -> v1::PlacementHome {
    let keeper = match &home.keeper {
        Keeper::Volume(name) => v1::placement_home::Keeper::VolumeName(name.clone()),
        Keeper::Group(name) => v1::placement_home::Keeper::Group(name.clone()),
    };
    let node = home.node.as_ref();
    v1::PlacementHome {
        keeper: Some(keeper),
        node_id: node.map(|node| node.node_id.to_string()).unwrap_or_default(),
        node_name: node.map(|node| node.name.clone()).unwrap_or_default(),
    }
}

/// Reads likes and dislikes of nodes.
pub(super) fn affinities_from_proto(
    affinities: &[v1::NodeAffinity],
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<Affinity> {
    if affinities.len() > MAX_AFFINITIES {
        violations.add(path, format!("has at most {MAX_AFFINITIES}, this has {}", affinities.len()));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(affinities.len());
    for (index, affinity) in affinities.iter().enumerate() {
        let path = item(path, index);
        let expression = expression_from_proto(&affinity.expression, &field(&path, "expression"), violations);
        let weight = affinity.weight;
        if weight == 0 || !(-MAX_WEIGHT..=MAX_WEIGHT).contains(&weight) {
            violations.add(field(&path, "weight"), format!("{weight} is not -{MAX_WEIGHT} to {MAX_WEIGHT} without 0"));
        }
        let Some(expression) = expression else { continue };
        // Each is a term of its own, and called by its expression.
        if read.iter().any(|one: &Affinity| one.expression == expression) {
            violations.add(field(&path, "expression"), format!("{expression} is given twice; add up the weights"));
        }
        read.push(Affinity { expression, weight });
    }
    read
}

/// Writes likes and dislikes of nodes.
pub(super) fn affinities_to_proto(affinities: &[Affinity]) -> Vec<v1::NodeAffinity> {
    let one = |one: &Affinity| v1::NodeAffinity { expression: one.expression.to_string(), weight: one.weight };
    affinities.iter().map(one).collect()
}

/// Reads what tasks are spread over.
pub(super) fn spread_from_proto(
    spread: &[v1::SpreadPreference],
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Vec<SpreadOver> {
    if spread.len() > MAX_SPREADS {
        violations.add(path, format!("has at most {MAX_SPREADS}, this has {}", spread.len()));
        return Vec::new();
    }
    let mut read: Vec<SpreadOver> = Vec::with_capacity(spread.len());
    for (index, over) in spread.iter().enumerate() {
        let path = item(path, index);
        let weight = over.weight.unwrap_or(DEFAULT_SPREAD_WEIGHT);
        let weight = i32::try_from(weight).ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight));
        if weight.is_none() {
            violations.add(field(&path, "weight"), format!("is 1 to {MAX_WEIGHT}"));
        }
        let attribute = violations.check(field(&path, "attribute"), over.attribute.parse::<Attribute>());
        let (Some(weight), Some(attribute)) = (weight, attribute) else { continue };
        if read.iter().any(|one| one.attribute == attribute) {
            violations.add(field(&path, "attribute"), format!("{attribute} is given twice"));
        }
        read.push(SpreadOver { attribute, weight });
    }
    read
}

/// Writes what tasks are spread over.
pub(super) fn spread_to_proto(spread: &[SpreadOver]) -> Vec<v1::SpreadPreference> {
    let one = |over: &SpreadOver| v1::SpreadPreference {
        attribute: over.attribute.to_string(),
        weight: Some(over.weight.unsigned_abs()),
    };
    spread.iter().map(one).collect()
}

/// Reads what a task would like of its node; nothing, unless given.
pub fn preferences_from_proto<'a>(
    preferences: Option<&v1::PlacementPreferences>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Preferences> {
    let path = &path.into();
    let Some(preferences) = preferences else { return Some(Preferences::default()) };
    let before = violations.0.len();
    let affinities = affinities_from_proto(&preferences.affinities, &field(path, "affinities"), violations);
    let spread = spread_from_proto(&preferences.spread, &field(path, "spread"), violations);
    let mark_path = field(path, "spread_mark");
    let spread_set = match (preferences.spread.is_empty(), preferences.spread_mark.as_str()) {
        (true, "") => None,
        (true, _) => {
            violations.add(mark_path, "has a meaning only with spread");
            None
        }
        (false, text) => violations.check(mark_path, text.parse::<Mark>()),
    };
    let failures_path = field(path, "recent_failures");
    let mut recent_failures = Vec::new();
    if preferences.recent_failures.len() > MAX_RECENT_FAILURES {
        violations.add(failures_path, format!("has at most {MAX_RECENT_FAILURES}"));
    } else {
        for (index, failures) in preferences.recent_failures.iter().enumerate() {
            let path = item(&failures_path, index);
            if failures.count == 0 {
                violations.add(field(&path, "count"), "is at least 1");
            }
            let node_id = parse_node_id(&failures.node_id, field(&path, "node_id"), violations);
            recent_failures.extend(node_id.map(|node_id| RecentFailures { node_id, count: failures.count }));
        }
    }
    recent_failures.sort_unstable();
    let read = Preferences { affinities, spread, spread_set, recent_failures };
    (violations.0.len() == before).then_some(read)
}

/// Writes what a task would like of its node; unset where it likes nothing.
#[must_use]
pub fn preferences_to_proto(preferences: &Preferences) -> Option<v1::PlacementPreferences> {
    let failures = |one: &RecentFailures| v1::RecentFailures { node_id: one.node_id.to_string(), count: one.count };
    (!preferences.is_empty()).then(|| v1::PlacementPreferences {
        affinities: affinities_to_proto(&preferences.affinities),
        spread: spread_to_proto(&preferences.spread),
        spread_mark: preferences.spread_set.as_ref().map(ToString::to_string).unwrap_or_default(),
        recent_failures: preferences.recent_failures.iter().map(failures).collect(),
    })
}
