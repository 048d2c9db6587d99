//! `logging`: how much of the output is kept.

use crate::error::{ProblemKind, quoted};
use crate::keys;
use crate::model::Logging;
use crate::read::{Context, Item};

/// The drivers whose output stays on the node, where `davit logs` reads it.
const DRIVERS: [&str; 2] = ["json-file", "local"];

/// Reads `logging`.
pub(super) fn bounds(item: Item, cx: &mut Context<'_>) -> Logging {
    let Some(mut fields) = item.fields(keys::LOGGING, cx) else { return Logging::default() };
    let driver = fields.take("driver");
    let options = fields.take("options");
    fields.finish(cx);
    if let Some(item) = driver
        && let Some(text) = item.text(cx).filter(|text| !DRIVERS.contains(text))
    {
        let message = format!(
            "refused: {}; `davit logs` reads what nodes keep, which is what `json-file` and `local` ask for",
            quoted(text)
        );
        cx.problems.key(ProblemKind::RefusedKey, item.at(), &item.path, message);
        // Its options are none that Davit knows.
        return Logging::default();
    }
    let Some(mut fields) = options.and_then(|item| item.fields(keys::LOG_OPTIONS, cx)) else {
        return Logging::default();
    };
    let max_file_bytes = fields.take("max-size").and_then(|item| file_size(&item, cx));
    let max_files = fields.take("max-file").and_then(|item| item.count_from_one(cx));
    fields.finish(cx);
    Logging { max_file_bytes, max_files }
}

fn file_size(item: &Item, cx: &mut Context<'_>) -> Option<u64> {
    let is_unlimited = matches!(item.text(cx)?, "-1" | "0");
    if is_unlimited {
        item.bad("output is kept within bounds on all nodes; write a size such as `10m`", cx);
        return None;
    }
    item.bytes(cx)
}
