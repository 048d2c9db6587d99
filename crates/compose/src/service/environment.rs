//! `environment`, `env_file` and labels.

use std::collections::BTreeMap;

use davit_core::spec::{check_env_key, check_label_key, check_label_value};

use crate::env_file::Format;
use crate::error::{Position, ProblemKind};
use crate::interpolate::Variables;
use crate::keys;
use crate::read::{Context, Fields, Item};
use crate::tree::Value;

/// One entry of `env_file`.
#[derive(Debug)]
pub(crate) struct EnvFile {
    pub(crate) file: String,
    pub(crate) required: bool,
    format: Format,
    item: Item,
}

/// Reads `environment` over what the files of `env_file` have, of which later ones win.
pub(super) fn environment(fields: &mut Fields, cx: &mut Context<'_>) -> Variables {
    let files = fields.take("env_file").map(|item| env_files(item, cx)).unwrap_or_default();
    let written = fields.take("environment").map(|item| own(item, cx)).unwrap_or_default();
    let own = written.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
    let mut environment = Variables::new();
    for file in files {
        read_file(&file, &own, &mut environment, cx);
    }
    // A name without a value takes away what a file has.
    environment.retain(|key, _| !written.contains_key(key));
    environment.extend(own);
    environment
}

/// Reads `environment` itself. A name alone takes what the caller has, if anything.
fn own(item: Item, cx: &mut Context<'_>) -> BTreeMap<String, Option<String>> {
    let mut own = BTreeMap::new();
    for (key, (value, item)) in item.pairs(cx) {
        if let Err(error) = check_env_key(&key) {
            cx.problems.error(ProblemKind::BadValue, item.at(), &item.path, format!("the name of a variable {error}"));
            continue;
        }
        let outside = if value.is_none() { cx.variables.get(&key) } else { None };
        if !cx.has_room_for(0, outside.map_or(0, String::len), &item) {
            break;
        }
        let value = value.or_else(|| outside.cloned());
        if value.as_ref().is_some_and(|value| value.contains('\0')) {
            item.bad("holds a zero byte", cx);
        }
        own.insert(key, value);
    }
    own
}

/// Reads `env_file` in all its forms.
pub(crate) fn env_files(item: Item, cx: &mut Context<'_>) -> Vec<EnvFile> {
    const FORMATS: [(&str, Format); 1] = [("raw", Format::Raw)];
    let mut files = Vec::new();
    for item in item.one_or_more(cx) {
        if !matches!(item.node.value, Value::Map(_)) {
            if let Some(file) = item.nonempty(cx) {
                files.push(EnvFile { file: file.to_owned(), required: true, format: Format::Compose, item });
            }
            continue;
        }
        let Some(mut fields) = item.fields(keys::ENV_FILE, cx) else { continue };
        let path = fields.needed("path", cx);
        let required = fields.take("required").and_then(|item| item.boolean(cx)).unwrap_or(true);
        let format = fields.take("format").and_then(|item| item.one_of(&FORMATS, cx)).unwrap_or_default();
        fields.finish(cx);
        if let Some(item) = path
            && let Some(file) = item.nonempty(cx)
        {
            files.push(EnvFile { file: file.to_owned(), required, format, item });
        }
    }
    files
}

impl EnvFile {
    /// Where its path is written.
    pub(crate) fn position(&self) -> &Position {
        self.item.at()
    }

    /// The key path of where its path is written.
    pub(crate) fn key_path(&self) -> &str {
        &self.item.path
    }
}

fn read_file(env_file: &EnvFile, own: &Variables, into: &mut Variables, cx: &mut Context<'_>) {
    let EnvFile { file, required, format, item } = env_file;
    let Some(bytes) = cx.files.get(file) else {
        if *required {
            let message = format!("the file `{file}` is not there; write `required: false` if it need not be");
            cx.problems.error(ProblemKind::Missing, item.at(), &item.path, message);
        }
        return;
    };
    let Ok(text) = str::from_utf8(&bytes.0) else {
        item.bad(format!("the file `{file}` is not UTF-8"), cx);
        return;
    };
    // Many services may name one large file.
    if cx.has_room_for(0, text.len(), item) {
        cx.read_env_file(item, (file, text), *format, own, into);
    }
}

/// Reads labels.
pub(super) fn labels(item: Option<Item>, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(item) = item else { return labels };
    for (key, (value, item)) in item.pairs(cx) {
        let value = value.unwrap_or_default();
        if let Err(error) = check_label_key(&key) {
            item.bad(format!("a label's key {error}"), cx);
        } else if let Err(error) = check_label_value(&value) {
            item.bad(format!("a label's value {error}"), cx);
        } else {
            labels.insert(key, value);
        }
    }
    labels
}
