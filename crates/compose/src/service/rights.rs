//! What processes of a container may do: `group_add` and `security_opt`.

use std::collections::BTreeSet;

use crate::error::{ProblemKind, quoted};
use crate::read::{Context, Item};

/// Reads `group_add`; which groups there are, the image says.
pub(super) fn groups(item: Option<Item>, cx: &mut Context<'_>) -> BTreeSet<String> {
    let items = item.map(|item| item.items(cx)).unwrap_or_default();
    items.iter().filter_map(|item| item.nonempty(cx).map(str::to_owned)).collect()
}

/// Reads `security_opt`: whether processes gain no privileges, of which the last item tells.
pub(super) fn no_new_privileges(item: Option<Item>, cx: &mut Context<'_>) -> bool {
    let items = item.map(|item| item.items(cx)).unwrap_or_default();
    let mut is_set = false;
    for item in &items {
        let Some(text) = item.text(cx) else { continue };
        match text.strip_prefix("no-new-privileges").map(|rest| rest.replacen('=', ":", 1)).as_deref() {
            Some("" | ":true") => is_set = true,
            Some(":false") => is_set = false,
            _ => {
                let message = format!(
                    "refused: {}; how the engine confines containers is the node's own affair, but for \
                     `no-new-privileges`; see `cap_drop` and `read_only`",
                    quoted(text)
                );
                cx.problems.key(ProblemKind::RefusedKey, item.at(), &item.path, message);
            }
        }
    }
    is_set
}
