//! `depends_on`.

use std::collections::BTreeMap;

use crate::keys;
use crate::model::{Condition, Dependency};
use crate::read::{Context, Item};
use crate::tree::Value;

const CONDITIONS: [(&str, Condition); 3] = [
    ("service_started", Condition::Started),
    ("service_healthy", Condition::Healthy),
    ("service_completed_successfully", Condition::CompletedSuccessfully),
];

/// Reads `depends_on`, with the place of each; lists became mappings when files were merged.
pub(crate) fn depends_on(item: Item, cx: &mut Context<'_>) -> BTreeMap<String, (Dependency, Item)> {
    let mut dependencies = BTreeMap::new();
    for (name, _, item) in item.entries(true, cx) {
        let here = item.place();
        if item.node.value == Value::Null {
            item.bad("needs a `condition`, such as `service_started`", cx);
            continue;
        }
        let Some(mut fields) = item.fields(keys::DEPENDENCY, cx) else { continue };
        let condition = fields.needed("condition", cx).and_then(|item| item.one_of(&CONDITIONS, cx));
        let restart = fields.take("restart").and_then(|item| item.boolean(cx)).unwrap_or_default();
        let required = fields.take("required").and_then(|item| item.boolean(cx)).unwrap_or(true);
        fields.finish(cx);
        let condition = condition.unwrap_or_default();
        dependencies.insert(name, (Dependency { condition, restart, required }, here));
    }
    dependencies
}
