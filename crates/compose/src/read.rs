//! Takes typed values out of a tree. What is wrong is told, and reading goes on, so that all of it is told at once.

mod context;
mod fields;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

pub(crate) use self::context::Context;
pub(crate) use self::fields::Fields;
use crate::error::{Position, ProblemKind, quoted};
use crate::interpolate::join;
use crate::keys::Section;
use crate::tree::{Node, Value};
use crate::units::{parse_bytes, parse_cpu_millis, parse_duration};

/// A value and its key path.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) node: Node,
    pub(crate) path: String,
}

impl Item {
    pub(crate) fn at(&self) -> &Position {
        &self.node.at
    }

    /// Where it is, without the value: to tell something of it when it has been read.
    pub(crate) fn place(&self) -> Self {
        Self { node: Node::new(Value::Null, self.node.at.clone()), path: self.path.clone() }
    }

    /// Tells that the value is wrong.
    pub(crate) fn bad(&self, message: impl Into<String>, cx: &mut Context<'_>) {
        cx.problems.error(ProblemKind::BadValue, &self.node.at, &self.path, message);
    }

    /// Tells that it names something that is not there.
    pub(crate) fn unknown(&self, kind: &str, name: &str, cx: &mut Context<'_>) {
        // Services are always declared; what they use may be forgotten.
        let hint = match kind {
            "service" => String::new(),
            kind => format!("; declare it in the project's own `{kind}s`"),
        };
        let message = format!("there is no {kind} {}{hint}", quoted(name));
        cx.problems.error(ProblemKind::Reference, &self.node.at, &self.path, message);
    }

    /// Tells that the value is accepted, and does something else than with Docker Compose.
    pub(crate) fn differs(&self, message: impl Into<String>, cx: &mut Context<'_>) {
        cx.problems.warning(ProblemKind::Differs, &self.node.at, &self.path, message);
    }

    fn wrong_kind(&self, wanted: &str, cx: &mut Context<'_>) {
        self.bad(format!("must be {wanted}, and is {}", self.node.kind()), cx);
    }

    /// The text of a single value.
    pub(crate) fn text(&self, cx: &mut Context<'_>) -> Option<&str> {
        if let Value::Text(text) = &self.node.value {
            return Some(text);
        }
        self.wrong_kind("a single value", cx);
        None
    }

    /// As [`Self::text`], and not empty.
    pub(crate) fn nonempty(&self, cx: &mut Context<'_>) -> Option<&str> {
        let text = self.text(cx)?;
        if text.is_empty() {
            self.bad("must not be empty", cx);
            return None;
        }
        Some(text)
    }

    /// What a function makes of the text; its error follows the text in the message.
    pub(crate) fn parsed<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
        cx: &mut Context<'_>,
    ) -> Option<T> {
        let text = self.text(cx)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.bad(format!("{} {error}", quoted(text)), cx);
                None
            }
        }
    }

    /// As [`Self::parsed`], for an error that says all itself.
    pub(crate) fn checked<T, E: Display>(
        &self,
        check: impl FnOnce(&str) -> Result<T, E>,
        cx: &mut Context<'_>,
    ) -> Option<T> {
        match check(self.text(cx)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.bad(error.to_string(), cx);
                None
            }
        }
    }

    pub(crate) fn boolean(&self, cx: &mut Context<'_>) -> Option<bool> {
        self.parsed(
            |text| match text {
                "true" | "True" | "TRUE" => Ok(true),
                "false" | "False" | "FALSE" => Ok(false),
                _ => Err("is neither `true` nor `false`"),
            },
            cx,
        )
    }

    /// A whole number from 0.
    pub(crate) fn count(&self, cx: &mut Context<'_>) -> Option<u32> {
        self.parsed(|text| whole_number(text, u32::MAX), cx)
    }

    /// A whole number from 1.
    pub(crate) fn count_from_one(&self, cx: &mut Context<'_>) -> Option<u32> {
        let count = self.count(cx)?;
        if count == 0 {
            self.bad("must be at least 1", cx);
            return None;
        }
        Some(count)
    }

    pub(crate) fn duration(&self, cx: &mut Context<'_>) -> Option<Duration> {
        self.parsed(parse_duration, cx)
    }

    pub(crate) fn bytes(&self, cx: &mut Context<'_>) -> Option<u64> {
        self.parsed(parse_bytes, cx)
    }

    pub(crate) fn cpu_millis(&self, cx: &mut Context<'_>) -> Option<u64> {
        self.parsed(parse_cpu_millis, cx)
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)], cx: &mut Context<'_>) -> Option<T> {
        self.parsed(
            |text| {
                let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
                found.ok_or_else(|| {
                    let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
                    format!("is not known; write {}", known.join(", "))
                })
            },
            cx,
        )
    }

    /// The items of a list.
    pub(crate) fn items(self, cx: &mut Context<'_>) -> Vec<Self> {
        if !matches!(self.node.value, Value::List(_)) {
            self.wrong_kind("a list", cx);
            return Vec::new();
        }
        let Value::List(nodes) = self.node.value else { return Vec::new() };
        let path = self.path;
        let item = |(index, node)| Self { node, path: format!("{path}[{index}]") };
        nodes.into_iter().enumerate().map(item).collect()
    }

    /// The items of a list, or the one value that stands for a list of one.
    pub(crate) fn one_or_more(self, cx: &mut Context<'_>) -> Vec<Self> {
        if matches!(self.node.value, Value::Text(_)) { vec![self] } else { self.items(cx) }
    }

    /// The texts of a list.
    pub(crate) fn texts(self, cx: &mut Context<'_>) -> Vec<String> {
        let items = self.items(cx);
        items.iter().filter_map(|item| item.text(cx).map(str::to_owned)).collect()
    }

    /// A mapping whose keys are names that the user chooses. What begins with `x-` is no such name where `extensible`, which is
    /// told, since it may have been meant as one.
    pub(crate) fn entries(self, extensible: bool, cx: &mut Context<'_>) -> Vec<(String, Position, Self)> {
        if !matches!(self.node.value, Value::Map(_)) {
            self.wrong_kind("a mapping", cx);
            return Vec::new();
        }
        let Value::Map(map) = self.node.value else { return Vec::new() };
        let mut entries = Vec::new();
        for (key, entry) in map {
            let path = join(&self.path, &key);
            if extensible && key.starts_with("x-") {
                let message = "taken for an extension, since it begins with `x-`, and not for a name";
                cx.problems.warning(ProblemKind::Differs, &entry.key_at, &path, message);
                continue;
            }
            entries.push((key, entry.key_at, Self { node: entry.node, path }));
        }
        entries
    }

    /// A mapping whose keys are those of a section.
    pub(crate) fn fields(self, section: &'static Section, cx: &mut Context<'_>) -> Option<Fields> {
        if !matches!(self.node.value, Value::Map(_)) {
            self.wrong_kind("a mapping", cx);
            return None;
        }
        let at = self.node.at;
        let Value::Map(map) = self.node.value else { return None };
        Some(Fields::new(map, at, self.path, section))
    }

    /// A mapping of texts, such as `environment`; a key alone has none. Lists became mappings when files were merged.
    pub(crate) fn pairs(self, cx: &mut Context<'_>) -> BTreeMap<String, (Option<String>, Self)> {
        let mut pairs = BTreeMap::new();
        for (key, _, item) in self.entries(false, cx) {
            let value = match &item.node.value {
                Value::Null => None,
                Value::Text(text) => Some(text.clone()),
                Value::List(_) | Value::Map(_) => {
                    item.wrong_kind("a single value", cx);
                    continue;
                }
            };
            pairs.insert(key, (value, item));
        }
        pairs
    }
}

/// Reads a whole number from 0 to `max`.
pub(crate) fn whole_number<T: Copy + Display + TryFrom<u64>>(text: &str, max: T) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        let is_negative = text.strip_prefix('-').is_some_and(|rest| rest.parse::<u64>().is_ok());
        return Err(if is_negative { "is below 0" } else { "is not a whole number" }.to_owned());
    }
    let number = text.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("is above {max}"))
}
