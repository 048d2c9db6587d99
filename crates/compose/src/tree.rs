//! YAML as a tree in which every value knows where it stands. Aliases and merge keys are resolved, within bounds.

mod anchors;
mod build;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, options};

use self::build::Builder;
use crate::error::{Position, ProblemKind, Problems};

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The most values that all files of a project may hold together, aliases written out.
pub const MAX_NODES: usize = 50_000;

/// The most bytes of text that all values may hold together, aliases written out and variables put in.
pub const MAX_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// How deep mappings and lists may be in each other, aliases written out.
pub const MAX_DEPTH: usize = 48;

/// The longest key, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 256;

/// What a tree still may take up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) nodes: usize,
    pub(crate) text_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: MAX_NODES, text_bytes: MAX_TEXT_BYTES }
    }
}

impl Budget {
    /// Takes something off; `None` if there is not so much left.
    pub(crate) fn spend(&mut self, nodes: usize, text_bytes: usize) -> Option<()> {
        self.nodes = self.nodes.checked_sub(nodes)?;
        self.text_bytes = self.text_bytes.checked_sub(text_bytes)?;
        Some(())
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) at: Position,
    pub(crate) tag: Option<MergeTag>,
}

/// What a later file does with what an earlier one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeTag {
    /// `!reset`: takes it away.
    Reset,
    /// `!override`: takes its place.
    Override,
}

/// A scalar is text, whatever it looks like: what it is to be is known only where it is read, since a variable may stand in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

pub(crate) type Map = BTreeMap<String, Entry>;

/// A key's place, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key_at: Position,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, at: Position) -> Self {
        Self { value, at, tag: None }
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value of a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(map) => map.get(key).map(|entry| &entry.node),
            _ => None,
        }
    }
}

/// Reads one file. `None` if it has no tree, which is then told in `problems`.
pub(crate) fn parse(name: &Arc<str>, text: &str, budget: &mut Budget, problems: &mut Problems) -> Option<Node> {
    let start = Position { file: Arc::clone(name), line: 1, column: 1 };
    if text.len() > MAX_FILE_BYTES {
        let message = format!("a file has at most {MAX_FILE_BYTES} bytes, this one has {}", text.len());
        problems.error(ProblemKind::TooLarge, &start, "", message);
        return None;
    }
    let mut options = options! { block_nesting_limit: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH };
    options.set_emit_comments(false);
    let mut builder = Builder::new(Arc::clone(name), budget, problems);
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => builder.event(event, &span)?,
            Err(error) => {
                let (at, path) = (builder.position(error.marker()), builder.path());
                problems.error(ProblemKind::Syntax, &at, &path, format!("not YAML: {}", error.info()));
                return None;
            }
        }
    }
    let root = builder.finish();
    if root.is_none() {
        problems.error(ProblemKind::Missing, &start, "", "the file is empty");
    }
    root
}
