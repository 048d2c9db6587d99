//! `configs` and `secrets` of the project.

use std::collections::BTreeMap;

use super::volumes::{external, fields_or_none, name};
use crate::error::{Position, ProblemKind};
use crate::keys::{self, Section};
use crate::model::{Bytes, Contents, StoredFile};
use crate::read::{Context, Fields, Item};

/// The most that a config or a secret may hold, as with Swarm.
const MAX_CONTENTS_BYTES: usize = 500 * 1024;

/// Reads `configs`.
pub(super) fn configs(item: Option<Item>, cx: &mut Context<'_>) -> BTreeMap<String, StoredFile> {
    stored(item, keys::CONFIG, &["file", "content", "environment"], cx)
}

/// Reads `secrets`.
pub(super) fn secrets(item: Option<Item>, cx: &mut Context<'_>) -> BTreeMap<String, StoredFile> {
    stored(item, keys::SECRET, &["file", "environment"], cx)
}

fn stored(
    item: Option<Item>,
    section: &'static Section,
    sources: &[&str],
    cx: &mut Context<'_>,
) -> BTreeMap<String, StoredFile> {
    let mut stored = BTreeMap::new();
    for (key, position, item) in item.map(|item| item.entries(true, cx)).unwrap_or_default() {
        let Some(mut fields) = fields_or_none(item, section, cx) else { continue };
        let external = external(&mut fields, cx);
        let name = name(&mut fields, &key, external, &position, cx);
        let contents = if external { Some(Contents::External) } else { given(&mut fields, sources, &position, cx) };
        fields.finish(cx);
        // Services may refer to it also if its contents are wrong, which has been told.
        let contents = contents.unwrap_or_else(|| Contents::Given(Bytes(Vec::new())));
        stored.insert(key, StoredFile { name, contents, position });
    }
    stored
}

fn given(fields: &mut Fields, sources: &[&str], position: &Position, cx: &mut Context<'_>) -> Option<Contents> {
    let mut found: Vec<_> = sources.iter().filter_map(|&source| Some((source, fields.take(source)?))).collect();
    let (source, item) = match (found.pop(), found.is_empty()) {
        (Some(one), true) => one,
        _ => {
            let one_of: Vec<_> = sources.iter().map(|source| format!("`{source}`")).collect();
            let message = format!("needs one of {}, or `external: true`", one_of.join(", "));
            cx.problems.error(ProblemKind::Missing, position, fields.path(), message);
            return None;
        }
    };
    let text = item.text(cx)?.to_owned();
    let (bytes, missing) = match source {
        "file" => (cx.files.get(&text).map(|bytes| bytes.0.as_slice()), format!("the file `{text}` is not there")),
        "environment" => (cx.variables.get(&text).map(String::as_bytes), format!("the variable `{text}` is not set")),
        _ => (Some(text.as_bytes()), String::new()),
    };
    let Some(bytes) = bytes else {
        cx.problems.error(ProblemKind::Missing, item.at(), &item.path, missing);
        return None;
    };
    if bytes.len() > MAX_CONTENTS_BYTES {
        item.bad(format!("has {} bytes; {MAX_CONTENTS_BYTES} at most are kept", bytes.len()), cx);
        return None;
    }
    cx.has_room_for(1, bytes.len(), &item).then(|| Contents::Given(Bytes(bytes.to_vec())))
}
