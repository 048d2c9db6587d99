//! Where in a request a message stands.

use std::fmt;

/// How much of a map's key a path shows. Keys come from outside and may be of any length.
const MAX_KEY_CHARS: usize = 64;

/// The way from the request's root to a field. Costs nothing until it is written, which happens only where something is
/// wrong: a batch has a million fields, and hardly ever a wrong one.
#[derive(Debug, Clone, Copy)]
pub struct FieldPath<'a>(Step<'a>);

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Start(&'a str),
    Field(&'a FieldPath<'a>, &'a str),
    Item(&'a FieldPath<'a>, usize),
    Entry(&'a FieldPath<'a>, &'a str),
}

impl FieldPath<'_> {
    fn is_root(&self) -> bool {
        matches!(self.0, Step::Start(""))
    }
}

/// The path of a field of the message at `path`.
pub(super) fn field<'a>(path: &'a FieldPath<'a>, name: &'a str) -> FieldPath<'a> {
    FieldPath(Step::Field(path, name))
}

/// The path of an item of the repeated field at `path`.
pub(super) fn item<'a>(path: &'a FieldPath<'a>, index: usize) -> FieldPath<'a> {
    FieldPath(Step::Item(path, index))
}

/// The path of an entry of the map at `path`.
pub(super) fn entry<'a>(path: &'a FieldPath<'a>, key: &'a str) -> FieldPath<'a> {
    FieldPath(Step::Entry(path, key))
}

/// `spec.container.ports[1].host_port`, `spec.labels["a b"]`
impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Step::Start(start) => f.write_str(start),
            Step::Field(path, name) if path.is_root() => f.write_str(name),
            Step::Field(path, name) => write!(f, "{path}.{name}"),
            Step::Item(path, index) => write!(f, "{path}[{index}]"),
            Step::Entry(path, key) => match key.char_indices().nth(MAX_KEY_CHARS) {
                None => write!(f, "{path}[{key:?}]"),
                Some((end, _)) => write!(f, "{path}[{:?}]", format!("{}…", &key[..end])),
            },
        }
    }
}

impl<'a> From<&'a str> for FieldPath<'a> {
    fn from(start: &'a str) -> Self {
        Self(Step::Start(start))
    }
}

impl<'a> From<&'a String> for FieldPath<'a> {
    fn from(start: &'a String) -> Self {
        Self(Step::Start(start))
    }
}

impl<'a> From<&'a FieldPath<'a>> for FieldPath<'a> {
    fn from(path: &'a FieldPath<'a>) -> Self {
        *path
    }
}

impl From<FieldPath<'_>> for String {
    fn from(path: FieldPath<'_>) -> Self {
        path.to_string()
    }
}

impl From<&FieldPath<'_>> for String {
    fn from(path: &FieldPath<'_>) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_protobuf_names_the_fields() {
        let root = FieldPath::from("");
        let spec = field(&root, "spec");
        let ports = field(&spec, "ports");
        let port = item(&ports, 1);
        assert_eq!(field(&port, "host_port").to_string(), "spec.ports[1].host_port");
        assert_eq!(entry(&spec, "a \"b").to_string(), r#"spec["a \"b"]"#);
    }

    #[test]
    fn a_long_key_is_cut_between_its_characters() {
        let root = FieldPath::from("labels");
        let shown = entry(&root, &"é".repeat(1000)).to_string();
        assert_eq!(shown, format!("labels[\"{}…\"]", "é".repeat(64)));
        assert_eq!(entry(&root, &"é".repeat(64)).to_string(), format!("labels[\"{}\"]", "é".repeat(64)));
    }
}
