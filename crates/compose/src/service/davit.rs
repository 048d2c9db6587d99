//! `x-davit` of a service.

use std::collections::BTreeSet;

use davit_core::spec::{PRIORITIES, check_name};

use super::{Declared, job};
use crate::keys;
use crate::model::{DavitOptions, OnNodeLoss};
use crate::read::{Context, Fields, Item};
use crate::tree::Value;

/// Reads `x-davit`.
pub(super) fn options(service: &mut Fields, name: &str, declared: &Declared, cx: &mut Context<'_>) -> DavitOptions {
    let Some(mut fields) = service.take("x-davit").and_then(|item| item.fields(keys::SERVICE_DAVIT, cx)) else {
        return DavitOptions::default();
    };
    let word = |text: &str| check_name(text).map(|()| text.to_owned());
    let options = DavitOptions {
        on_node_loss: fields.take("on_node_loss").and_then(|item| on_node_loss(item, cx)),
        algorithm: fields.take("algorithm").and_then(|item| item.checked(word, cx)),
        priority: fields.take("priority").and_then(|item| item.parsed(priority, cx)),
        may_preempt: fields.take("may_preempt").and_then(|item| item.boolean(cx)),
        canaries: fields.take("canaries").and_then(|item| item.count(cx)),
        auto_promote: fields.take("auto_promote").and_then(|item| item.boolean(cx)),
        progress_deadline: fields.take("progress_deadline").and_then(|item| item.duration(cx)),
        kept_versions: fields.take("kept_versions").and_then(|item| item.count(cx)),
        colocate: fields.take("colocate").map(|item| colocate(item, name, declared, cx)).unwrap_or_default(),
        job: fields.take("job").and_then(|item| job::job(item, cx)),
    };
    fields.finish(cx);
    options
}

fn on_node_loss(item: Item, cx: &mut Context<'_>) -> Option<OnNodeLoss> {
    if !matches!(item.node.value, Value::Map(_)) {
        return match &item.node.value {
            Value::Text(text) if text == "replace" => Some(OnNodeLoss::Replace),
            Value::Text(text) if text == "stop_and_replace" => Some(OnNodeLoss::StopAndReplace),
            Value::Text(text) if text == "wait" => {
                item.bad("says not how long; write `{wait: 5m}`", cx);
                None
            }
            _ => {
                item.bad("is none of them: write `replace`, `stop_and_replace` or `{wait: 5m}`", cx);
                None
            }
        };
    }
    let mut fields = item.fields(keys::WAIT, cx)?;
    let wait = fields.needed("wait", cx).and_then(|item| item.duration(cx));
    fields.finish(cx);
    wait.map(OnNodeLoss::Wait)
}

fn priority(text: &str) -> Result<i32, String> {
    let priority = text.parse().ok().filter(|priority| PRIORITIES.contains(priority));
    priority.ok_or_else(|| format!("is not a whole number from {} to {}", PRIORITIES.start(), PRIORITIES.end()))
}

/// Reads a list of other services.
fn colocate(item: Item, name: &str, declared: &Declared, cx: &mut Context<'_>) -> BTreeSet<String> {
    let mut services = BTreeSet::new();
    for item in item.one_or_more(cx) {
        let Some(other) = item.text(cx).map(str::to_owned) else { continue };
        if other == name {
            item.bad("a service can't wait for its own tasks to be on a node", cx);
        } else if declared.services.contains(&other) {
            services.insert(other);
        } else {
            item.unknown("service", &other, cx);
        }
    }
    services
}
