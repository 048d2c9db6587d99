//! Reads the whole project.

mod dependencies;
mod networks;
mod stored;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ProblemKind;
use crate::keys;
use crate::model::{KeyPositions, Project, Service};
use crate::read::{Context, Fields, Item};
use crate::service::{self, Declared};
use crate::tree::{Node, Value};

/// So many services a project may have.
pub const MAX_SERVICES: usize = 1000;

/// The profile that stands for all.
const ALL_PROFILES: &str = "*";

/// Reads a project out of the one tree of its files. `None` if it is not complete, which is then told.
pub(crate) fn read(root: Node, profiles: &BTreeSet<String>, cx: &mut Context<'_>) -> Option<Project> {
    let item = Item { node: root, path: String::new() };
    let mut fields = item.fields(keys::PROJECT, cx)?;
    let positions = KeyPositions(fields.positions());
    // It was read before variables were put in, since it is one itself.
    if let Some(name) = fields.take("name") {
        name.text(cx);
    }
    if let Some(version) = fields.take("version") {
        version.differs("obsolete, and without a meaning", cx);
    }
    let networks = networks::declared(fields.take("networks"), cx);
    let volumes = volumes::volumes(fields.take("volumes"), cx);
    let configs = stored::configs(fields.take("configs"), cx);
    let secrets = stored::secrets(fields.take("secrets"), cx);
    let entries = fields.needed("services", cx).map(|item| item.entries(true, cx)).unwrap_or_default();
    if entries.len() > MAX_SERVICES {
        let message = format!("a project has at most {MAX_SERVICES} services, and this one has {}", entries.len());
        cx.problems.error_of_all(ProblemKind::TooLarge, "services", message);
        return None;
    }
    let mut disabled_services = BTreeSet::new();
    let mut enabled = Vec::new();
    for (name, at, item) in entries {
        let own = own_profiles(&item.node);
        check_profiles(&item, &own, cx);
        if is_selected(&own, profiles) {
            enabled.push((name, at, item, own));
        } else {
            disabled_services.insert(name);
        }
    }
    if enabled.is_empty() && !cx.problems.has_error() {
        let why = if disabled_services.is_empty() { "there is none" } else { "no selected profile has one" };
        cx.problems.error_of_all(ProblemKind::Missing, "services", format!("a project needs a service, and {why}"));
    }
    let declared = Declared {
        services: enabled.iter().map(|(name, ..)| name.clone()).collect(),
        volumes: volumes.keys().cloned().collect(),
        configs: configs.keys().cloned().collect(),
        secrets: secrets.keys().cloned().collect(),
        networks,
    };
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    let mut depends_on = BTreeMap::new();
    for (name, at, item, own) in enabled {
        let depends = item.node.get("depends_on").filter(|node| node.value != Value::Null).cloned();
        if let Some(node) = depends {
            let item = Item { node, path: format!("{}.depends_on", item.path) };
            depends_on.insert(name.clone(), service::depends_on(item, cx));
        }
        if let Some(service) = service::read(name.clone(), at, item, own, &declared, cx) {
            services.insert(name, service);
        }
    }
    dependencies::resolve(depends_on, &declared.services, &disabled_services, &mut services, cx);
    let colocate = colocate(&mut fields, &declared.services, cx);
    fields.finish(cx);
    let name = cx.project_name.clone();
    Some(Project { name, services, disabled_services, volumes, configs, secrets, colocate, positions })
}

/// The services that some selected profile has, and those without any.
pub(crate) fn selected_services<'a>(root: &'a Node, profiles: &BTreeSet<String>) -> Vec<(&'a str, &'a Node)> {
    let Some(Value::Map(services)) = root.get("services").map(|node| &node.value) else { return Vec::new() };
    let services = services.iter().map(|(name, entry)| (name.as_str(), &entry.node));
    services.filter(|(_, node)| is_selected(&own_profiles(node), profiles)).collect()
}

fn is_selected(own: &BTreeSet<String>, selected: &BTreeSet<String>) -> bool {
    own.is_empty() || selected.contains(ALL_PROFILES) || !own.is_disjoint(selected)
}

fn own_profiles(service: &Node) -> BTreeSet<String> {
    let Some(Value::List(nodes)) = service.get("profiles").map(|node| &node.value) else { return BTreeSet::new() };
    let text = |node: &Node| match &node.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    nodes.iter().filter_map(text).collect()
}

fn check_profiles(service: &Item, own: &BTreeSet<String>, cx: &mut Context<'_>) {
    let Some(node) = service.node.get("profiles").filter(|node| node.value != Value::Null) else { return };
    let item = Item { node: node.clone(), path: format!("{}.profiles", service.path) };
    let place = item.place();
    item.texts(cx);
    let letters = |profile: &String| profile.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let good = |profile: &String| profile.starts_with(|c: char| c.is_ascii_alphanumeric()) && letters(profile);
    if !own.iter().all(good) {
        place.bad("a profile's name holds letters, digits and `_` `.` `-`, and begins with a letter or digit", cx);
    }
}

/// Reads `x-davit.colocate`: lists of services, or `true` for one of all.
fn colocate(fields: &mut Fields, services: &BTreeSet<String>, cx: &mut Context<'_>) -> Vec<BTreeSet<String>> {
    let Some(mut davit) = fields.take("x-davit").and_then(|item| item.fields(keys::PROJECT_DAVIT, cx)) else {
        return Vec::new();
    };
    let written = davit.take("colocate");
    davit.finish(cx);
    if let Some(item) = written.as_ref().filter(|item| matches!(item.node.value, Value::Text(_))) {
        let is_all = item.boolean(cx) == Some(true) && !services.is_empty();
        return if is_all { vec![services.clone()] } else { Vec::new() };
    }
    let lists = written.map(|item| item.items(cx)).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for list in lists {
        let place = list.place();
        let mut group = BTreeSet::new();
        for item in list.items(cx) {
            let Some(name) = item.text(cx).map(str::to_owned) else { continue };
            if !services.contains(&name) {
                item.unknown("service", &name, cx);
            } else if !seen.insert(name.clone()) {
                item.bad(format!("`{name}` is in a list already; make one of both"), cx);
            } else {
                group.insert(name);
            }
        }
        if group.len() < 2 {
            place.bad("needs two services at least", cx);
        }
        groups.push(group);
    }
    groups
}
