//! `volumes` of the project.

use std::collections::BTreeMap;

use crate::error::{Position, quoted};
use crate::keys;
use crate::model::Volume;
use crate::read::{Context, Fields, Item};
use crate::tree::{Node, Value};

/// The longest name of a volume, config or secret, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Reads the volumes.
pub(super) fn volumes(item: Option<Item>, cx: &mut Context<'_>) -> BTreeMap<String, Volume> {
    let mut volumes = BTreeMap::new();
    for (key, position, item) in item.map(|item| item.entries(true, cx)).unwrap_or_default() {
        if let Some(volume) = volume(&key, position, item, cx) {
            volumes.insert(key, volume);
        }
    }
    volumes
}

fn volume(key: &str, position: Position, item: Item, cx: &mut Context<'_>) -> Option<Volume> {
    let mut fields = fields_or_none(item, keys::VOLUME, cx)?;
    let external = external(&mut fields, cx);
    let name = name(&mut fields, key, external, &position, cx);
    if let Some(item) = fields.take("driver") {
        item.one_of(&[("local", ())], cx);
    }
    fields.finish(cx);
    Some(Volume { name, external, position })
}

/// A declaration may say nothing.
pub(super) fn fields_or_none(item: Item, section: &'static keys::Section, cx: &mut Context<'_>) -> Option<Fields> {
    let Item { node, path } = item;
    let value = if node.value == Value::Null { Value::Map(BTreeMap::new()) } else { node.value };
    Item { node: Node { value, ..node }, path }.fields(section, cx)
}

/// Reads `external`.
pub(super) fn external(fields: &mut Fields, cx: &mut Context<'_>) -> bool {
    let Some(item) = fields.take("external") else { return false };
    if matches!(item.node.value, Value::Map(_)) {
        item.bad("obsolete as a mapping; write `external: true`, and `name` beside it", cx);
        return true;
    }
    item.boolean(cx).unwrap_or_default()
}

/// Reads `name`. Without it what is external has its key, and what is the project's own the project's name before it.
pub(super) fn name(
    fields: &mut Fields,
    key: &str,
    external: bool,
    position: &Position,
    cx: &mut Context<'_>,
) -> String {
    if let Err(message) = checked(key) {
        let place = Item { node: Node::new(Value::Null, position.clone()), path: fields.path().to_owned() };
        place.bad(message, cx);
    }
    let written = fields.take("name").map(|item| item.checked(checked, cx).unwrap_or_default());
    written.unwrap_or_else(|| if external { key.to_owned() } else { format!("{}_{key}", cx.project_name) })
}

fn checked(name: &str) -> Result<String, String> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && name.len() <= MAX_NAME_BYTES;
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "{} is no name: letters, digits and `_` `.` `-`, first a letter or digit, {MAX_NAME_BYTES} at most",
            quoted(name)
        ))
    }
}
