//! Projects as text.

use davit_compose::Project;

/// What fits into a line is put on one.
const LINE_CHARS: usize = 100;

/// A structure that has not ended: its first line, and what is in it.
struct Block {
    opening: String,
    inner: Vec<String>,
}

/// A project as text: what is at its default is left out, and so are places.
pub(crate) fn shown(project: &Project) -> String {
    let mut blocks = vec![Block { opening: String::new(), inner: Vec::new() }];
    for line in format!("{project:#?}").lines() {
        let text = line.trim_start();
        if text.ends_with(['{', '[', '(']) {
            blocks.push(Block { opening: line.to_owned(), inner: Vec::new() });
            continue;
        }
        let closes = text.starts_with(['}', ']', ')']);
        let finished = if closes { blocks.pop().and_then(|block| closed(block, line)) } else { kept(line) };
        if let Some(block) = blocks.last_mut() {
            block.inner.extend(finished.unwrap_or_default());
        }
    }
    blocks.remove(0).inner.join("\n")
}

fn kept(line: &str) -> Option<Vec<String>> {
    let default = [": None,", ": [],", ": {},", ": false,", " required: true,", " mode: Replicated,"];
    let dropped = default.iter().any(|end| line.ends_with(end)) && !line.ends_with(" required: false,");
    let dropped = dropped || ["position:", "positions:"].iter().any(|name| line.trim_start().starts_with(name));
    (!dropped).then(|| vec![line.to_owned()])
}

fn closed(block: Block, closing: &str) -> Option<Vec<String>> {
    let Block { opening, inner } = block;
    let closing_text = closing.trim_start();
    if opening.ends_with("image: ImageReference {") {
        let text = inner.first()?.trim().strip_prefix("text: ")?;
        return Some(vec![format!("{}{text}", opening.strip_suffix("ImageReference {")?)]);
    }
    // A key of a mapping stays, whatever is left of its value.
    if inner.is_empty() && opening.contains(": ") && !opening.trim_start().starts_with('"') {
        return None;
    }
    let joined: Vec<_> = inner.iter().map(|line| line.trim_start()).collect();
    let joined = joined.join(" ");
    let joined = joined.strip_suffix(',').unwrap_or(&joined);
    let space = if opening.ends_with('{') && !inner.is_empty() { " " } else { "" };
    let line = format!("{opening}{space}{joined}{space}{closing_text}");
    if line.trim_start().chars().count() <= LINE_CHARS && !line.contains("Service {") {
        return Some(vec![line]);
    }
    Some(std::iter::once(opening).chain(inner).chain([closing.to_owned()]).collect())
}
