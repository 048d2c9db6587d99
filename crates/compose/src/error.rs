//! What is wrong with a project, and where.

use std::fmt;
use std::sync::Arc;

/// Where something stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The file, as the caller named it.
    pub file: Arc<str>,
    /// Its line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whether a problem stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// There is no project.
    Error,
    /// There is one, which may not be what was meant.
    Warning,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// Not YAML, or YAML that no Compose file may hold.
    Syntax,
    /// Larger than what is accepted.
    TooLarge,
    /// No key of the Compose Specification.
    UnknownKey,
    /// A key of the Compose Specification that Davit refuses.
    RefusedKey,
    /// A value that is wrong, or that Davit refuses.
    BadValue,
    /// Something that must be there is not.
    Missing,
    /// A variable that is not set, or not written rightly.
    Variable,
    /// A name that stands for nothing in the project.
    Reference,
    /// Accepted, and does something else than with Docker Compose.
    Differs,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Whether it stands in the way.
    pub severity: Severity,
    /// What kind it is.
    pub kind: ProblemKind,
    /// Where it is. `None` when it concerns no place in a file.
    pub position: Option<Position>,
    /// The key path, such as `services.web.ports[0]`; empty for the whole file.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = &self.position {
            write!(f, "{position}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// There is no project, and this is why: at least one error, and the warnings; in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// All that was found.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// So many problems are told; of the rest only their number is.
pub const MAX_PROBLEMS: usize = 200;

/// Of a value that is quoted in a message so many characters are shown.
const MAX_QUOTED_CHARS: usize = 80;

/// Gathers problems.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    left_out: usize,
    has_error: bool,
    /// Keys that are unknown or refused are dropped with a warning.
    lenient: bool,
}

impl Problems {
    pub(crate) fn new(lenient: bool) -> Self {
        Self { lenient, ..Self::default() }
    }

    pub(crate) fn error(&mut self, kind: ProblemKind, at: &Position, path: &str, message: impl Into<String>) {
        self.push(Severity::Error, kind, Some(at), path, message.into());
    }

    pub(crate) fn warning(&mut self, kind: ProblemKind, at: &Position, path: &str, message: impl Into<String>) {
        self.push(Severity::Warning, kind, Some(at), path, message.into());
    }

    /// An error that is at no place in a file.
    pub(crate) fn error_of_all(&mut self, kind: ProblemKind, path: &str, message: impl Into<String>) {
        self.push(Severity::Error, kind, None, path, message.into());
    }

    /// A key that can't be read: dropped with a warning if the caller is lenient.
    pub(crate) fn key(&mut self, kind: ProblemKind, at: &Position, path: &str, message: impl Into<String>) {
        let message = message.into();
        if self.lenient {
            let message = match message.strip_prefix("refused: ") {
                Some(why) => format!("dropped: {why}"),
                None if kind == ProblemKind::UnknownKey => format!("dropped: {message}"),
                None => message,
            };
            self.push(Severity::Warning, kind, Some(at), path, message);
        } else {
            self.push(Severity::Error, kind, Some(at), path, message);
        }
    }

    fn push(&mut self, severity: Severity, kind: ProblemKind, at: Option<&Position>, path: &str, message: String) {
        self.has_error |= severity == Severity::Error;
        // A value that aliases repeat is wrong once.
        let is_known = |known: &Problem| known.position.as_ref() == at && at.is_some() && known.message == message;
        if self.list.iter().any(is_known)
            || (kind != ProblemKind::Variable && at.is_some_and(|at| self.is_unknown_at(at)))
        {
            return;
        }
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        self.list.push(Problem { severity, kind, position: at.cloned(), path: path.to_owned(), message });
    }

    /// Whether it is not known what stands at a place, since something is wrong with the variables there: what else is said of the
    /// value would mislead.
    pub(crate) fn is_unknown_at(&self, at: &Position) -> bool {
        let is_there = |known: &&Problem| known.position.as_ref() == Some(at);
        let mut there = self.list.iter().filter(is_there);
        there.any(|known| known.kind == ProblemKind::Variable && known.severity == Severity::Error)
    }

    /// Whether what is added now is counted and not told, so that nobody need think of good words for it.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    pub(crate) fn has_error(&self) -> bool {
        self.has_error
    }

    /// The warnings, or everything if there is an error. `files` gives the order of files.
    pub(crate) fn finish(mut self, files: &[Arc<str>]) -> Result<Vec<Problem>, Invalid> {
        let file = |position: &Position| files.iter().position(|name| *name == position.file).unwrap_or(files.len());
        self.list.sort_by_cached_key(|problem| {
            let place = problem.position.as_ref().map(|at| (file(at), at.line, at.column));
            (place.is_none(), place, problem.path.clone())
        });
        if self.left_out > 0 {
            let severity = if self.has_error { Severity::Error } else { Severity::Warning };
            let message = format!("and {} more", self.left_out);
            let kind = ProblemKind::TooLarge;
            self.list.push(Problem { severity, kind, position: None, path: String::new(), message });
        }
        if self.has_error { Err(Invalid { problems: self.list }) } else { Ok(self.list) }
    }
}

/// A value for a message: on one line, and not too long.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(MAX_QUOTED_CHARS) {
        if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}
