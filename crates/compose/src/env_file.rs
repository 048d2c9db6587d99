//! Environment files: `.env`, and what `env_file` names. The grammar is that of Docker Compose.
//!
//! `KEY=VALUE` on a line, `export` before it allowed, `KEY: VALUE` too, comments after `#`. Values in double quotes may hold escapes
//! and variables, those in single quotes are taken as they are, and both may span lines; bare values may hold variables. A `KEY`
//! alone takes its value from the given variables, if it is there.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_core::spec::check_env_key;

use crate::error::{Invalid, Position, Problem, ProblemKind, Problems, quoted};
use crate::interpolate::{Template, Variables, expanded, join};
use crate::tree::{Budget, MAX_FILE_BYTES};

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// With quotes, comments at the end, and variables.
    #[default]
    Compose,
    /// As they stand, to the end of the line.
    Raw,
}

/// Reads an environment file such as `.env`. `variables` win over those that the file itself has set before, where a value refers
/// to one.
///
/// # Errors
/// All that is wrong with it, with lines.
pub fn parse_env_file(name: &str, text: &str, variables: &Variables) -> Result<(Variables, Vec<Problem>), Invalid> {
    let name: Arc<str> = name.into();
    let mut problems = Problems::new(false);
    let mut values = Variables::new();
    let outside = Outside { variables, environment: &Variables::new() };
    let file = EnvText { name: &name, path: "", text, format: Format::Compose };
    read(&file, outside, &mut values, &mut Budget::default(), &mut problems);
    Ok((values, problems.finish(&[name])?))
}

/// The names of all variables that the values of an environment file refer to, and of those that it takes from outside.
#[must_use]
pub fn env_file_variables(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut problems = Problems::new(false);
    let file = EnvText { name: &"".into(), path: "", text, format: Format::Compose };
    for entry in entries(&file, &mut problems) {
        match entry.value {
            Written::Inherited => {
                names.insert(entry.key);
            }
            Written::Literal(_) => {}
            Written::Template(text) => {
                if let Ok(template) = Template::parse(&text) {
                    template.for_each_variable(&mut |variable| {
                        names.insert(variable.name.clone());
                    });
                }
            }
        }
    }
    names
}

/// A file as it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnvText<'a> {
    /// What it is called in messages.
    pub(crate) name: &'a Arc<str>,
    /// The key path that names it; empty if none does.
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    pub(crate) format: Format,
}

/// Where the values of an environment file find what they refer to: the first that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outside<'a> {
    /// What the caller gives.
    pub(crate) variables: &'a Variables,
    /// What the service that names the file has in `environment`.
    pub(crate) environment: &'a Variables,
}

/// Reads one file over what files before it have, and its values may refer to. What is wrong is told in `problems`.
pub(crate) fn read(
    file: &EnvText<'_>,
    outside: Outside<'_>,
    values: &mut Variables,
    budget: &mut Budget,
    problems: &mut Problems,
) {
    let Outside { variables, environment } = outside;
    for Entry { key, value, at } in entries(file, problems) {
        let path = join(file.path, &key);
        let known = |name: &str| variables.get(name).or_else(|| environment.get(name));
        let (value, paid_bytes) = match value {
            Written::Inherited => (known(&key).cloned(), 0),
            Written::Literal(text) => (Some(text), 0),
            Written::Template(text) => {
                let lookup = |name: &str| known(name).or_else(|| values.get(name)).map(String::as_str);
                let value = expanded(&text, &at, &path, &lookup, budget, problems);
                let paid_bytes = value.as_ref().map_or(0, String::len);
                (value, paid_bytes)
            }
        };
        let Some(value) = value else { continue };
        if budget.spend(1, key.len() + value.len() - paid_bytes).is_none() {
            problems.error(ProblemKind::TooLarge, &at, &path, "too large: no room is left for this file's values");
            break;
        }
        values.insert(key, value);
    }
}

/// A value as it is written.
enum Written {
    /// Nothing but the key.
    Inherited,
    Literal(String),
    Template(String),
}

struct Entry {
    key: String,
    value: Written,
    at: Position,
}

fn entries(file: &EnvText<'_>, problems: &mut Problems) -> Vec<Entry> {
    let EnvText { name, path, text, format } = *file;
    let mut entries = Vec::new();
    let position = |line: u32| Position { file: Arc::clone(name), line, column: 1 };
    if text.len() > MAX_FILE_BYTES {
        let message = format!("a file has at most {MAX_FILE_BYTES} bytes, this one has {}", text.len());
        problems.error(ProblemKind::TooLarge, &position(1), path, message);
        return entries;
    }
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1u32;
    while !rest.is_empty() {
        let at = position(line);
        let (taken, entry) = match one_entry(rest, format) {
            Ok(taken) => taken,
            Err(message) => {
                problems.error(ProblemKind::Syntax, &at, path, message);
                (first_line(rest).len() + 1, None)
            }
        };
        let (before, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        line = line.saturating_add(u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX));
        rest = after;
        entries.extend(entry.map(|(key, value)| Entry { key, value, at }));
    }
    entries
}

/// The line without its end.
fn first_line(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(line, _)| line)
}

/// Reads a line, or as many as a quoted value spans. Gives how many bytes that took.
fn one_entry(text: &str, format: Format) -> Result<(usize, Option<(String, Written)>), String> {
    let line = first_line(text);
    let whole_line = line.len() + 1;
    let mut content = line.trim();
    if content.is_empty() || content.starts_with('#') {
        return Ok((whole_line, None));
    }
    if let Some(rest) = content.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
        content = rest.trim_start();
    }
    let separators: &[char] = if format == Format::Raw { &['='] } else { &['=', ':'] };
    let Some((key, value)) = content.split_once(separators) else {
        let key = content.split_once(" #").map_or(content, |(key, _)| key).trim_end();
        // What stands there may be a part of a value that should have been quoted: it is not shown.
        check_env_key(key)
            .map_err(|_| "is no line like `KEY=VALUE`; a value of several lines needs quotes".to_owned())?;
        return Ok((whole_line, Some((key.to_owned(), Written::Inherited))));
    };
    let key = key.trim_end();
    check_env_key(key).map_err(|error| format!("the name of a variable {error}"))?;
    let key = key.to_owned();
    if format == Format::Raw {
        return Ok((whole_line, Some((key, Written::Literal(value.to_owned())))));
    }
    let value = value.trim_start();
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let end = value.char_indices().find(|&(at, c)| c == '#' && (at == 0 || value[..at].ends_with([' ', '\t'])));
        let value = end.map_or(value, |(at, _)| &value[..at]).trim_end();
        return Ok((whole_line, Some((key, Written::Template(value.to_owned())))));
    };
    // Only what trimming took off is after the value on its line.
    let start = line.trim_end().len() - value.len() + quote.len_utf8();
    let (inner, length) = quoted_value(&text[start..], quote)
        .ok_or_else(|| format!("the value of {} has no closing {quote}", quoted(&key)))?;
    let end = start + length;
    let tail = first_line(&text[end..]);
    let trimmed = tail.trim();
    if !(trimmed.is_empty() || trimmed.starts_with('#')) {
        return Err(format!("what stands after the value of {} has no meaning", quoted(&key)));
    }
    let value = if quote == '"' { Written::Template(inner) } else { Written::Literal(inner) };
    Ok((end + tail.len() + 1, Some((key, value))))
}

/// What stands up to the closing quote, as a template if the quote is a double one, and how many bytes that is with the quote.
fn quoted_value(text: &str, quote: char) -> Option<(String, usize)> {
    let mut inner = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((inner, at + quote.len_utf8()));
        }
        if c != '\\' || quote == '\'' {
            inner.push(c);
            continue;
        }
        match chars.next()?.1 {
            'n' => inner.push('\n'),
            'r' => inner.push('\r'),
            't' => inner.push('\t'),
            '$' => inner.push_str("$$"),
            escaped @ ('"' | '\\') => inner.push(escaped),
            other => {
                inner.push('\\');
                inner.push(other);
            }
        }
    }
    None
}
