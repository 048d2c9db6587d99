//! `healthcheck`.

use crate::keys;
use crate::model::{HealthCheck, HealthTest};
use crate::read::{Context, Item};
use crate::tree::Value;

/// What `test` says.
enum Test {
    Disabled,
    Run(HealthTest),
}

/// Reads `healthcheck`.
pub(super) fn check(item: Item, cx: &mut Context<'_>) -> Option<HealthCheck> {
    let mut fields = item.fields(keys::HEALTH_CHECK, cx)?;
    let disable = fields.take("disable").and_then(|item| item.boolean(cx)).unwrap_or_default();
    let test = fields.take("test").and_then(|item| test(item, cx));
    let interval = fields.take("interval").and_then(|item| item.duration(cx));
    let timeout = fields.take("timeout").and_then(|item| item.duration(cx));
    let retries = fields.take("retries").and_then(|item| item.count(cx));
    let start_period = fields.take("start_period").and_then(|item| item.duration(cx));
    let start_interval = fields.take("start_interval").and_then(|item| item.duration(cx));
    fields.finish(cx);
    let test = match test {
        _ if disable => return Some(HealthCheck::Disabled),
        Some(Test::Disabled) => return Some(HealthCheck::Disabled),
        Some(Test::Run(test)) => Some(test),
        None => None,
    };
    Some(HealthCheck::Enabled { test, interval, timeout, retries, start_period, start_interval })
}

fn test(item: Item, cx: &mut Context<'_>) -> Option<Test> {
    if let Value::Text(text) = &item.node.value {
        if text.is_empty() {
            item.bad("must not be empty", cx);
            return None;
        }
        return Some(Test::Run(HealthTest::Shell(text.clone())));
    }
    let here = item.place();
    let words = item.texts(cx);
    let (first, rest) = match words.split_first() {
        Some((first, rest)) => (first.as_str(), rest),
        None => ("", [].as_slice()),
    };
    match (first, rest) {
        ("NONE", []) => Some(Test::Disabled),
        ("CMD", [_, ..]) => Some(Test::Run(HealthTest::Command(rest.to_vec()))),
        ("CMD-SHELL", [line]) => Some(Test::Run(HealthTest::Shell(line.clone()))),
        ("CMD-SHELL", _) => {
            here.bad("`CMD-SHELL` takes one line for the shell after it", cx);
            None
        }
        _ => {
            here.bad("begins with `NONE`, with `CMD` and a program, or with `CMD-SHELL` and a line for the shell", cx);
            None
        }
    }
}
