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

/// A dependency as it is written.
#[derive(Debug)]
pub(crate) struct WrittenDependency {
    pub(crate) dependency: Dependency,
    /// Where it is.
    pub(crate) item: Item,
    /// Where its condition is.
    pub(crate) condition: Item,
}

/// Reads `depends_on`; lists became mappings when files were merged.
pub(crate) fn depends_on(item: Item, cx: &mut Context<'_>) -> BTreeMap<String, WrittenDependency> {
    let mut dependencies = BTreeMap::new();
    for (name, _, item) in item.entries(true, cx) {
        let here = item.place();
        if item.node.value == Value::Null {
            item.bad("needs a `condition`, such as `service_started`", cx);
            continue;
        }
        let Some(mut fields) = item.fields(keys::DEPENDENCY, cx) else { continue };
        let written = fields.needed("condition", cx);
        let condition = written.as_ref().and_then(|item| item.one_of(&CONDITIONS, cx)).unwrap_or_default();
        let required = fields.take("required").and_then(|item| item.boolean(cx)).unwrap_or(true);
        fields.finish(cx);
        let written = written.map_or_else(|| here.clone(), |item| item.place());
        let dependency = Dependency { condition, required };
        dependencies.insert(name, WrittenDependency { dependency, item: here, condition: written });
    }
    dependencies
}
