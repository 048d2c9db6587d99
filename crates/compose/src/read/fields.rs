//! A mapping whose keys are known.

use std::collections::BTreeMap;

use super::{Context, Item};
use crate::error::{Position, ProblemKind};
use crate::interpolate::join;
use crate::keys::{Section, Support};
use crate::tree::{Map, Value};

/// So deep are mappings whose keys are told each with its place: `x-davit.job.history.failed` is the deepest that has one.
const MAX_DEPTH: usize = 3;

/// A mapping whose keys are those of a section. Each is taken out; what is left at the end is told.
#[derive(Debug)]
#[must_use = "what is left in it must be told: call `finish`"]
pub(crate) struct Fields {
    map: Map,
    at: Position,
    path: String,
    section: &'static Section,
}

impl Fields {
    pub(super) fn new(map: Map, at: Position, path: String, section: &'static Section) -> Self {
        Self { map, at, path, section }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Tells that keys here are wrong together.
    pub(crate) fn bad(&self, message: &str, cx: &mut Context<'_>) {
        cx.problems.error(ProblemKind::BadValue, &self.at, &self.path, message);
    }

    /// Where its keys are written, and those of mappings in it, and in these.
    pub(crate) fn positions(&self) -> BTreeMap<String, Position> {
        let mut positions = BTreeMap::new();
        add_positions(&self.map, "", 0, &mut positions);
        positions
    }

    /// Takes a key's value; `None` if it is not there or has nothing.
    pub(crate) fn take(&mut self, name: &str) -> Option<Item> {
        let entry = self.map.remove(name)?;
        let path = join(&self.path, name);
        (entry.node.value != Value::Null).then_some(Item { node: entry.node, path })
    }

    /// Takes the value of a key that must be there.
    pub(crate) fn needed(&mut self, name: &str, cx: &mut Context<'_>) -> Option<Item> {
        let item = self.take(name);
        if item.is_none() {
            let message = format!("`{name}` is needed here");
            cx.problems.error(ProblemKind::Missing, &self.at, &self.path, message);
        }
        item
    }

    /// Tells all keys that were not taken, but for extensions.
    pub(crate) fn finish(self, cx: &mut Context<'_>) {
        for (name, entry) in &self.map {
            let path = join(&self.path, name);
            let at = &entry.key_at;
            if name == "x-davit" {
                let message = "`x-davit` has a meaning in a service, and at the top of a file, not here";
                cx.problems.key(ProblemKind::UnknownKey, at, &path, message);
                continue;
            }
            if name.starts_with("x-") {
                continue;
            }
            match self.section.key(name) {
                Some(key) if key.support == Support::Refused => {
                    if asks_for_nothing(name, &entry.node.value) {
                        continue;
                    }
                    cx.problems.key(ProblemKind::RefusedKey, at, &path, format!("refused: {}", key.note));
                }
                Some(_) => {
                    let message = "has no meaning beside the other keys here";
                    cx.problems.error(ProblemKind::BadValue, at, &path, message);
                }
                None => {
                    let like = if cx.problems.is_full() { None } else { self.section.like(name) };
                    let meant = like.map(|like| format!("; did you mean `{like}`?"));
                    let message = format!("unknown key{}", meant.unwrap_or_default());
                    cx.problems.key(ProblemKind::UnknownKey, at, &path, message);
                }
            }
        }
    }
}

/// Whether a refused key's value asks for what holds without it, as `docker compose config` writes many.
fn asks_for_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text == "false" && name != "enable_ipv4",
        Value::List(nodes) => nodes.is_empty(),
        Value::Map(map) => map.is_empty(),
    }
}

fn add_positions(map: &Map, path: &str, depth: usize, positions: &mut BTreeMap<String, Position>) {
    for (key, entry) in map {
        let path = join(path, key);
        if let Value::Map(inner) = &entry.node.value
            && depth < MAX_DEPTH
        {
            add_positions(inner, &path, depth + 1, positions);
        }
        positions.insert(path, entry.key_at.clone());
    }
}
