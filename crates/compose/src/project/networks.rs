//! `networks` of the project: accepted, and all of them are the app's one network.

use std::collections::BTreeSet;

use crate::keys;
use crate::read::{Context, Item};
use crate::tree::Value;

/// The network that services without any are in.
const DEFAULT: &str = "default";

/// Reads which networks are declared.
pub(super) fn declared(item: Option<Item>, cx: &mut Context<'_>) -> BTreeSet<String> {
    let mut declared = BTreeSet::new();
    let Some(item) = item else { return declared };
    let place = item.place();
    for (name, _, item) in item.entries(true, cx) {
        declared.insert(name);
        if item.node.value == Value::Null {
            continue;
        }
        let Some(mut fields) = item.fields(keys::NETWORK, cx) else { continue };
        if let Some(item) = fields.take("name") {
            item.nonempty(cx);
        }
        if let Some(item) = fields.take("driver") {
            item.one_of(&[("bridge", ()), ("overlay", ()), ("default", ())], cx);
        }
        fields.finish(cx);
    }
    if declared.iter().any(|name| name != DEFAULT) {
        let message = "an app has one network: services reach each other by name, whichever of these they are in";
        place.differs(message, cx);
    }
    declared
}
