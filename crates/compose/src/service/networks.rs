//! `networks` of a service: further names in the app's one network.

use std::collections::BTreeSet;

use davit_core::spec::check_name;

use super::Declared;
use crate::keys;
use crate::read::{Context, Fields};
use crate::tree::Value;

/// The network that is there without being declared.
const DEFAULT: &str = "default";

/// Reads `networks`; lists became mappings when files were merged.
pub(super) fn aliases(fields: &mut Fields, declared: &Declared, cx: &mut Context<'_>) -> BTreeSet<String> {
    let mut aliases = BTreeSet::new();
    let Some(item) = fields.take("networks") else { return aliases };
    for (name, _, item) in item.entries(true, cx) {
        if name != DEFAULT && !declared.networks.contains(&name) {
            item.unknown("network", &name, cx);
        }
        if item.node.value == Value::Null {
            continue;
        }
        let Some(mut fields) = item.fields(keys::SERVICE_NETWORK, cx) else { continue };
        if let Some(item) = fields.take("aliases") {
            for item in item.items(cx) {
                aliases.extend(item.checked(|text| check_name(text).map(|()| text.to_owned()), cx));
            }
        }
        fields.finish(cx);
    }
    aliases
}
