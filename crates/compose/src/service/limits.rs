//! Capabilities, the kernel's limits, and how many processes there may be.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys;
use crate::model::Ulimit;
use crate::read::{Context, Item, whole_number};
use crate::tree::Value;

/// Reads `cap_add` and `cap_drop`.
pub(super) fn capabilities(item: Option<Item>, cx: &mut Context<'_>) -> BTreeSet<String> {
    let items = item.map(|item| item.items(cx)).unwrap_or_default();
    items.iter().filter_map(|item| item.parsed(capability, cx)).collect()
}

fn capability(text: &str) -> Result<String, &'static str> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if good { Ok(name.to_owned()) } else { Err("is not a capability; write it like `NET_ADMIN`") }
}

/// Reads `ulimits`.
pub(super) fn ulimits(item: Option<Item>, cx: &mut Context<'_>) -> BTreeMap<String, Ulimit> {
    let mut ulimits = BTreeMap::new();
    for (name, _, item) in item.map(|item| item.entries(true, cx)).unwrap_or_default() {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
            item.bad("is not a limit; known to the kernel are `nofile`, `nproc`, `memlock` and the like", cx);
            continue;
        }
        if let Some(ulimit) = ulimit(item, cx) {
            ulimits.insert(name, ulimit);
        }
    }
    ulimits
}

fn ulimit(item: Item, cx: &mut Context<'_>) -> Option<Ulimit> {
    if !matches!(item.node.value, Value::Map(_)) {
        let limit = item.parsed(limit, cx)?;
        return Some(Ulimit { soft: limit, hard: limit });
    }
    let here = item.place();
    let mut fields = item.fields(keys::ULIMIT, cx)?;
    let soft = fields.needed("soft", cx).and_then(|item| item.parsed(limit, cx));
    let hard = fields.needed("hard", cx).and_then(|item| item.parsed(limit, cx));
    fields.finish(cx);
    let (soft, hard) = (soft?, hard?);
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        here.bad("`soft` is above `hard`", cx);
        return None;
    }
    Some(Ulimit { soft, hard })
}

/// Reads how many processes and threads there may be; as with the engine, 0 is no limit, and so is -1.
pub(super) fn pids(item: &Item, cx: &mut Context<'_>) -> Option<u32> {
    let limit = item.parsed(|text| if text == "-1" { Ok(0) } else { whole_number(text, u32::MAX) }, cx)?;
    (limit > 0).then_some(limit)
}

/// A number; -1 is no limit.
fn limit(text: &str) -> Result<Option<u64>, String> {
    if text == "-1" { Ok(None) } else { whole_number(text, u64::MAX - 1).map(Some) }
}
