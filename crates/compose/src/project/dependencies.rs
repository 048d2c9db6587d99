//! Which services wait for which, and that none waits for itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{ProblemKind, quoted};
use crate::model::{Condition, HealthCheck, Service};
use crate::read::Context;
use crate::service::WrittenDependency;

/// Of a circle so many services are told.
const MAX_SHOWN: usize = 20;

type Written = BTreeMap<String, BTreeMap<String, WrittenDependency>>;

/// Gives services what they depend on. What is not there is an error, unless it need not be.
pub(super) fn resolve(
    written: Written,
    enabled: &BTreeSet<String>,
    disabled: &BTreeSet<String>,
    services: &mut BTreeMap<String, Service>,
    cx: &mut Context<'_>,
) {
    let mut waits: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (name, dependencies) in written {
        for (other, WrittenDependency { mut dependency, item, condition }) in dependencies {
            if dependency.condition == Condition::Healthy && services.get(&other).is_some_and(has_no_check) {
                let message = format!(
                    "{} has no health check, so that nothing says when it is healthy: write its `healthcheck` with a `test` (what its \
                     image says of its health is not looked at), or `service_started` here",
                    quoted(&other)
                );
                cx.problems.key(ProblemKind::BadValue, condition.at(), &condition.path, message);
                dependency.condition = Condition::Started;
            }
            if enabled.contains(&other) {
                waits.entry(name.clone()).or_default().insert(other.clone());
                places.entry(name.clone()).or_insert(item);
                if let Some(service) = services.get_mut(&name) {
                    service.depends_on.insert(other, dependency);
                }
            } else if dependency.required && disabled.contains(&other) {
                let message = format!(
                    "no selected profile has {}; select one that does, or write `required: false`",
                    quoted(&other)
                );
                cx.problems.error(ProblemKind::Reference, item.at(), &item.path, message);
            } else if dependency.required {
                item.unknown("service", &other, cx);
            }
        }
    }
    if let Some(circle) = circle(waits)
        && let Some(item) = circle.first().and_then(|name| places.get(name))
    {
        let rest = if circle.len() > MAX_SHOWN { " → …" } else { "" };
        let shown = circle[..circle.len().min(MAX_SHOWN)].join(" → ");
        let message = format!("services that wait for each other never start: {shown}{rest}");
        cx.problems.error(ProblemKind::Reference, item.at(), &item.path, message);
    }
}

/// Whether nobody can say that a service's tasks are healthy.
fn has_no_check(service: &Service) -> bool {
    matches!(service.health_check, None | Some(HealthCheck::Disabled | HealthCheck::Enabled { test: None, .. }))
}

/// Some circle of services that wait for each other: from one back to it.
fn circle(mut waits: BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    // Who waits for nobody who waits is in no circle.
    loop {
        let free: Vec<_> =
            waits.iter().filter(|(_, others)| !others.iter().any(|other| waits.contains_key(other))).collect();
        let free: Vec<_> = free.into_iter().map(|(name, _)| name.clone()).collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            waits.remove(&name);
        }
    }
    let mut way = vec![waits.keys().next()?.clone()];
    loop {
        let next = waits.get(way.last()?)?.iter().find(|other| waits.contains_key(*other))?.clone();
        if let Some(start) = way.iter().position(|name| *name == next) {
            way.drain(..start);
            way.push(next);
            return Some(way);
        }
        way.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(edges: &[(&str, &str)]) -> Option<String> {
        let mut waits: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            waits.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circle(waits).map(|circle| circle.join(" "))
    }

    #[test]
    fn circles_are_found() {
        assert_eq!(found(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
        assert_eq!(found(&[("a", "a")]).as_deref(), Some("a a"));
        assert_eq!(found(&[("x", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e")]).as_deref(), Some("b c d b"));
    }
}
