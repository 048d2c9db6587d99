//! `configs` and `secrets` of a service: files in its containers.

use std::collections::{BTreeMap, BTreeSet};

use super::Declared;
use crate::error::quoted;
use crate::keys::{self, Section};
use crate::model::FileGrant;
use crate::read::{Context, Item, whole_number};
use crate::tree::Value;

/// Where secrets are, unless a path is absolute.
const SECRETS_DIRECTORY: &str = "/run/secrets/";

/// Reads `configs`.
pub(super) fn configs(item: Option<Item>, declared: &Declared, cx: &mut Context<'_>) -> Vec<FileGrant> {
    grants(item, &Kind { name: "config", section: keys::CONFIG_GRANT, directory: "/", known: &declared.configs }, cx)
}

/// Reads `secrets`.
pub(super) fn secrets(item: Option<Item>, declared: &Declared, cx: &mut Context<'_>) -> Vec<FileGrant> {
    let directory = SECRETS_DIRECTORY;
    grants(item, &Kind { name: "secret", section: keys::SECRET_GRANT, directory, known: &declared.secrets }, cx)
}

struct Kind<'a> {
    name: &'static str,
    section: &'static Section,
    directory: &'static str,
    known: &'a BTreeSet<String>,
}

/// Of two for one file a later file's stays.
fn grants(item: Option<Item>, kind: &Kind<'_>, cx: &mut Context<'_>) -> Vec<FileGrant> {
    let mut grants: BTreeMap<String, (FileGrant, Item)> = BTreeMap::new();
    let Some(item) = item else { return Vec::new() };
    for item in item.items(cx) {
        let here = item.place();
        let Some(grant) = grant(item, kind, cx) else { continue };
        if !kind.known.contains(&grant.source) {
            here.unknown(kind.name, &grant.source, cx);
            continue;
        }
        if let Some((_, first)) = grants.get(&grant.target)
            && first.at().file == here.at().file
        {
            here.bad(format!("{} is given already in line {}", quoted(&grant.target), first.at().line), cx);
            continue;
        }
        grants.insert(grant.target.clone(), (grant, here));
    }
    grants.into_values().map(|(grant, _)| grant).collect()
}

fn grant(item: Item, kind: &Kind<'_>, cx: &mut Context<'_>) -> Option<FileGrant> {
    let in_place = |name: &str| format!("{}{name}", kind.directory);
    if !matches!(item.node.value, Value::Map(_)) {
        let source = item.nonempty(cx)?.to_owned();
        return Some(FileGrant { target: in_place(&source), source, uid: None, gid: None, mode: None });
    }
    let mut fields = item.fields(kind.section, cx)?;
    let source = fields.needed("source", cx).and_then(|item| item.nonempty(cx).map(str::to_owned));
    let target = fields.take("target").map(|item| {
        item.parsed(
            |text| {
                let path = if text.starts_with('/') { text.to_owned() } else { in_place(text) };
                let good = !text.is_empty() && !text.ends_with('/') && !path.split('/').any(|part| part == "..");
                if good { Ok(path) } else { Err("is not a file's path in the container") }
            },
            cx,
        )
    });
    let mut id = |name| fields.take(name).and_then(|item| item.parsed(|text| whole_number(text, u32::MAX), cx));
    let (uid, gid) = (id("uid"), id("gid"));
    let mode = fields.take("mode").and_then(|item| item.parsed(mode, cx));
    fields.finish(cx);
    let source = source?;
    let target = target.unwrap_or_else(|| Some(in_place(&source)))?;
    Some(FileGrant { source, target, uid, gid, mode })
}

/// Reads `0440`. A number without a zero before it is decimal to YAML, as in `288`, which tools write; but many who write `440` mean
/// it as octal. So it is taken only where nobody means that.
fn mode(text: &str) -> Result<u32, &'static str> {
    const WRONG: &str = "is not a mode; write it in octal with a zero before it, as in `0440`";
    if text.is_empty() || !text.strip_prefix("0o").unwrap_or(text).bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WRONG);
    }
    let mode = match text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
        Some("") if text == "0" => Ok(0),
        Some(digits) => u32::from_str_radix(digits, 8),
        None if is_octal_for_people(text) => return Err(WRONG),
        None => text.parse(),
    };
    mode.ok().filter(|&mode| mode <= 0o7777).ok_or(WRONG)
}

/// Whether digits would be permissions that somebody gives: whoever may do anything with a file may read it.
fn is_octal_for_people(digits: &str) -> bool {
    digits.bytes().all(|digit| matches!(digit, b'0' | b'4'..=b'7'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0440"), Ok(0o440));
        assert_eq!(mode("0o400"), Ok(0o400));
        assert_eq!(mode("0"), Ok(0));
        for text in ["440", "644", "0x1", "0999", "", "0o", "01234567", "-0440", "0+440", "+288", "99999", "4096"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_that_tools_write_in_decimal_are_taken_as_such() {
        for usual in [0o400, 0o440, 0o444, 0o500, 0o550, 0o555, 0o600, 0o640, 0o644, 0o700, 0o750, 0o755, 0o777_u32] {
            assert_eq!(mode(&usual.to_string()), Ok(usual), "{usual}");
        }
    }
}
