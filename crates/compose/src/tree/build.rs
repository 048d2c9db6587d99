//! From the parser's events to a tree.

use std::sync::Arc;

use granit_parser::{Event, Marker, ScalarStyle, Span, Tag};

use super::anchors::{Anchors, Refusal};
use super::{Budget, Entry, MAX_DEPTH, MAX_KEY_BYTES, MAX_NODES, MAX_TEXT_BYTES, Map, MergeTag, Node, Value};
use crate::error::{Position, ProblemKind, Problems, quoted};
use crate::interpolate::join;

/// The key whose value comes next.
enum NextKey {
    /// The key itself comes next.
    None,
    /// `<<`
    Merge,
    Named(String, Position),
    /// It was no key; its value is dropped.
    Bad,
}

enum Inside {
    List(Vec<Node>),
    Map { map: Map, merged: Vec<Node>, next: NextKey },
}

/// A list or a mapping that has not ended.
struct Frame {
    inside: Inside,
    at: Position,
    tag: Option<MergeTag>,
    anchor: usize,
}

/// Makes the tree. Where it goes on after a mistake it has told it.
pub(super) struct Builder<'a> {
    file: Arc<str>,
    budget: &'a mut Budget,
    problems: &'a mut Problems,
    frames: Vec<Frame>,
    anchors: Anchors,
    root: Option<Node>,
    documents: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(file: Arc<str>, budget: &'a mut Budget, problems: &'a mut Problems) -> Self {
        let (frames, anchors) = (Vec::new(), Anchors::default());
        Self { file, budget, problems, frames, anchors, root: None, documents: 0 }
    }

    pub(super) fn position(&self, marker: &Marker) -> Position {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let column = number(marker.col()).saturating_add(1);
        Position { file: Arc::clone(&self.file), line: number(marker.line()).max(1), column }
    }

    /// The key path of what is being read.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.inside {
                Inside::List(nodes) => path.push_str(&format!("[{}]", nodes.len())),
                Inside::Map { next: NextKey::Named(key, _), .. } => path = join(&path, key),
                Inside::Map { .. } => {}
            }
        }
        path
    }

    pub(super) fn finish(self) -> Option<Node> {
        self.root
    }

    /// Takes one event. `None` when there is no going on.
    pub(super) fn event(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        let at = self.position(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.stop(&at, "a second document: put it into a file of its own, and give both");
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text(tag.as_deref());
                let tag = self.tag(tag.as_deref(), &at);
                self.spend(&at, 1, text.len())?;
                if plain && text == "<<" && self.take_merge_key(&at) {
                    return Some(());
                }
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Text(text.into_owned()) };
                self.complete(Node { value, at, tag }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(Inside::List(Vec::new()), at, tag.as_deref(), anchor)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let inside = Inside::Map { map: Map::new(), merged: Vec::new(), next: NextKey::None };
                self.open(inside, at, tag.as_deref(), anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Frame { inside, at, tag, anchor } = self.frames.pop()?;
                let value = match inside {
                    Inside::List(nodes) => Value::List(nodes),
                    Inside::Map { map, merged, .. } => Value::Map(self.merge(map, merged)),
                };
                self.complete(Node { value, at, tag }, anchor)?;
            }
            Event::Alias(anchor) => match self.anchors.write_out(anchor, self.frames.len(), self.budget) {
                Ok(node) => self.complete(node, 0)?,
                Err(Refusal::InsideItself) => return self.stop(&at, "an alias inside of what it stands for"),
                Err(Refusal::TooDeep) => return self.too_deep(&at),
                Err(Refusal::TooLarge) => return self.too_large(&at),
            },
            _ => {}
        }
        Some(())
    }

    fn open(&mut self, inside: Inside, at: Position, tag: Option<&Tag>, anchor: usize) -> Option<()> {
        if self.frames.len() >= MAX_DEPTH {
            return self.too_deep(&at);
        }
        self.spend(&at, 1, 0)?;
        let tag = self.tag(tag, &at);
        self.frames.push(Frame { inside, at, tag, anchor });
        Some(())
    }

    /// Puts a value that is complete where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Option<()> {
        if self.anchors.keep(anchor, &node, self.budget).is_none() {
            return self.too_large(&node.at);
        }
        let mut told = None;
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match &mut frame.inside {
            Inside::List(nodes) => nodes.push(node),
            Inside::Map { map, merged, next } => match std::mem::replace(next, NextKey::None) {
                NextKey::Bad => {}
                NextKey::Merge => merged.push(node),
                NextKey::Named(key, key_at) => {
                    map.insert(key, Entry { key_at, node });
                }
                NextKey::None => {
                    let at = node.at.clone();
                    *next = key_of(node, map).unwrap_or_else(|message| {
                        told = Some((at, message));
                        NextKey::Bad
                    });
                }
            },
        }
        if let Some((at, message)) = told {
            self.tell(ProblemKind::Syntax, &at, message);
        }
        Some(())
    }

    /// Whether a `<<` stands where a key does; a second one is told.
    fn take_merge_key(&mut self, at: &Position) -> bool {
        let Some(Frame { inside: Inside::Map { next, merged, .. }, .. }) = self.frames.last_mut() else {
            return false;
        };
        if !matches!(next, NextKey::None) {
            return false;
        }
        *next = NextKey::Merge;
        if !merged.is_empty() {
            let message = "`<<` is there twice; write `<<: [*one, *other]`";
            self.tell(ProblemKind::Syntax, at, message);
        }
        true
    }

    /// Own keys win over merged ones, and of those the earlier.
    fn merge(&mut self, mut map: Map, merged: Vec<Node>) -> Map {
        let mut sources = Vec::new();
        for node in merged {
            match node.value {
                Value::List(nodes) => sources.extend(nodes),
                _ => sources.push(node),
            }
        }
        for Node { value, at, .. } in sources {
            let Value::Map(source) = value else {
                let message = "`<<` takes a mapping, or a list of mappings";
                self.tell(ProblemKind::Syntax, &at, message);
                continue;
            };
            for (key, entry) in source {
                map.entry(key).or_insert(entry);
            }
        }
        map
    }

    fn tag(&mut self, tag: Option<&Tag>, at: &Position) -> Option<MergeTag> {
        let tag = tag?;
        match tag.parts() {
            ("!", "reset") => Some(MergeTag::Reset),
            ("!", "override") => Some(MergeTag::Override),
            ("" | "!", "" | "!") => None,
            _ if tag.is_yaml_core_schema() || tag.suffix() == "merge" => None,
            _ => {
                let message = format!("unknown tag {}; known are `!reset` and `!override`", quoted(&tag.original()));
                self.tell(ProblemKind::Syntax, at, message);
                None
            }
        }
    }

    fn spend(&mut self, at: &Position, nodes: usize, text_bytes: usize) -> Option<()> {
        if self.budget.spend(nodes, text_bytes).is_none() { self.too_large(at) } else { Some(()) }
    }

    fn tell(&mut self, kind: ProblemKind, at: &Position, message: impl Into<String>) {
        let path = self.path();
        self.problems.error(kind, at, &path, message);
    }

    fn stop(&mut self, at: &Position, message: &str) -> Option<()> {
        self.tell(ProblemKind::Syntax, at, message);
        None
    }

    fn too_large(&mut self, at: &Position) -> Option<()> {
        let message = format!(
            "too large: a project has at most {MAX_NODES} values and {MAX_TEXT_BYTES} bytes of text, aliases written out"
        );
        self.tell(ProblemKind::TooLarge, at, message);
        None
    }

    fn too_deep(&mut self, at: &Position) -> Option<()> {
        let message =
            format!("too deep: mappings and lists are at most {MAX_DEPTH} in each other, aliases written out");
        self.tell(ProblemKind::TooLarge, at, message);
        None
    }
}

/// What a value is as a key. Of a key that is there twice the first stays.
fn key_of(node: Node, map: &Map) -> Result<NextKey, String> {
    match node.value {
        Value::Text(key) if key.len() > MAX_KEY_BYTES => {
            Err(format!("a key has at most {MAX_KEY_BYTES} bytes, this one has {}", key.len()))
        }
        Value::Text(key) => match map.get(&key) {
            Some(first) => Err(format!("the key {} is there twice, first in line {}", quoted(&key), first.key_at.line)),
            None => Ok(NextKey::Named(key, node.at)),
        },
        Value::Null => Err("a key must not be empty".to_owned()),
        Value::List(_) | Value::Map(_) => Err("a key must be a single value".to_owned()),
    }
}

fn is_text(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str") || tag.parts() == ("!", ""))
}
