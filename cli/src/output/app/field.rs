//! Fields that a plan changes, with values as people write them: what they are is read from the messages' descriptions. Programs get
//! them as they are.

use std::collections::HashMap;

use davit_proto::v1;
use jiff::SignedDuration;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use crate::output::proto_json::descriptor;
use crate::output::style::{Palette, Tone};
use crate::output::table::cores;
use crate::output::text::{human_bytes, short_digest};

/// Longer values are cut.
const VALUE_CHARS: usize = 200;

/// What changes in a spec, which is one of these messages; one a line.
pub(super) fn field_lines(message: &str, changes: &[v1::FieldChange], palette: Palette) -> Vec<String> {
    let message = descriptor(message);
    let mut shown: Vec<Shown> = Vec::with_capacity(changes.len());
    let mut first_with: HashMap<(&str, &str), usize> = HashMap::new();
    for change in changes {
        let value = message.as_ref().map_or(Value::Text, |message| Value::at(message, &change.path));
        // A secret that is mounted twice has one new version.
        if let (Value::Digest, Some(before), Some(after)) = (&value, &change.before, &change.after) {
            let first = first_with.get(&(before.as_str(), after.as_str())).and_then(|index| shown.get_mut(*index));
            if first.is_some_and(|first| first.add_item(&change.path)) {
                continue;
            }
            first_with.insert((before, after), shown.len());
        }
        shown.push(Shown::new(change, &value));
    }
    shown.iter().map(|shown| shown.line(palette)).collect()
}

/// A change as it is shown.
struct Shown {
    path: String,
    before: Option<String>,
    after: Option<String>,
}

impl Shown {
    fn new(change: &v1::FieldChange, value: &Value) -> Self {
        let both = (change.before.as_deref(), change.after.as_deref());
        let in_words = |side: Option<&str>| side.map(|side| value.in_words(side).unwrap_or_else(|| side.to_owned()));
        let (before, after) = (in_words(both.0), in_words(both.1));
        // Rounded or cut they may look alike.
        if before == after && both.0 != both.1 {
            return Self { path: change.path.clone(), before: both.0.map(plain), after: both.1.map(plain) };
        }
        let unit = value.unit();
        let path = change.path.strip_suffix(unit).unwrap_or(&change.path).to_owned();
        Self { path, before: before.as_deref().map(plain), after: after.as_deref().map(plain) }
    }

    /// Has `files[a].digest` be `files[a, b].digest`; whether that can be told so.
    fn add_item(&mut self, path: &str) -> bool {
        let Some((list, item)) = path.split_once('[') else { return false };
        let Some((item, field)) = item.rsplit_once(']') else { return false };
        let others = self.path.strip_prefix(list).and_then(|rest| rest.strip_prefix('['));
        let Some(others) = others.and_then(|rest| rest.strip_suffix(field)?.strip_suffix(']')) else { return false };
        self.path = format!("{list}[{others}, {item}]{field}");
        true
    }

    fn line(&self, palette: Palette) -> String {
        let path = &self.path;
        match (&self.before, &self.after) {
            (None, Some(after)) => palette.paint(Tone::Good, &format!("+ {path}: {after}")),
            (Some(before), None) => palette.paint(Tone::Bad, &format!("- {path}: {before}")),
            (Some(before), Some(after)) => {
                let (before, after) = (palette.paint(Tone::Bad, before), palette.paint(Tone::Good, after));
                format!("~ {path}: {before} -> {after}")
            }
            (None, None) => path.clone(),
        }
    }
}

/// On one line, and not too long.
fn plain(value: &str) -> String {
    let mut shown: String = value.chars().take(VALUE_CHARS).collect::<String>().escape_debug().to_string();
    // Quotes stay as they are: a value is no literal.
    shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if value.chars().nth(VALUE_CHARS).is_some() {
        shown.push('…');
    }
    if shown.is_empty() { "(empty)".to_owned() } else { shown }
}

/// What a value is.
enum Value {
    Bytes,
    CpuMillis,
    /// Permissions of a file.
    Mode,
    Digest,
    Duration,
    Word(EnumDescriptor),
    /// Shown as it is.
    Text,
}

impl Value {
    fn at(message: &MessageDescriptor, path: &str) -> Self {
        let Some(field) = field_at(message, path) else { return Self::Text };
        match field.kind() {
            Kind::Enum(words) => Self::Word(words),
            Kind::Message(message) if message.full_name() == "google.protobuf.Duration" => Self::Duration,
            Kind::Uint64 if field.name().ends_with("_bytes") => Self::Bytes,
            Kind::Uint64 if field.name() == "cpu_millis" => Self::CpuMillis,
            Kind::Uint32 if field.name() == "mode" => Self::Mode,
            Kind::String if field.name() == "digest" => Self::Digest,
            _ => Self::Text,
        }
    }

    /// The end of a field's name that says in what its number is, and which the value says itself in words.
    fn unit(&self) -> &'static str {
        match self {
            Self::Bytes => "_bytes",
            Self::CpuMillis => "_millis",
            Self::Mode | Self::Digest | Self::Duration | Self::Word(_) | Self::Text => "",
        }
    }

    /// As people write it; `None` if it is not what it should be.
    fn in_words(&self, value: &str) -> Option<String> {
        match self {
            Self::Bytes => value.parse().ok().map(human_bytes),
            Self::CpuMillis => value.parse().ok().map(cores),
            Self::Mode => value.parse::<u32>().ok().map(|mode| format!("{mode:04o}")),
            Self::Digest => Some(short_digest(value)),
            Self::Duration => value.parse::<SignedDuration>().ok().map(|span| format!("{span:#}")),
            Self::Word(words) => {
                let prefix = words.default_value().name().strip_suffix("UNSPECIFIED")?.to_owned();
                value.strip_prefix(&prefix).map(|word| word.to_lowercase().replace('_', "-"))
            }
            Self::Text => None,
        }
    }
}

/// The field that a path leads to. `None`: there is no such, or it is an entry of a map, which says nothing of its value.
fn field_at(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    let (name, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
    let field = message.get_field_by_name(name)?;
    if rest.is_empty() {
        return Some(field);
    }
    let Kind::Message(inner) = field.kind() else { return None };
    if field.is_map() {
        return None;
    }
    if !field.is_list() {
        return field_at(&inner, rest.strip_prefix('.')?);
    }
    // What tells an item apart may itself hold what ends it.
    rest.match_indices("].").find_map(|(at, end)| field_at(&inner, &rest[at + end.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(message: &str, changes: &[(&str, Option<&str>, Option<&str>)]) -> String {
        let change = |(path, before, after): &(&str, Option<&str>, Option<&str>)| v1::FieldChange {
            path: (*path).to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let changes: Vec<_> = changes.iter().map(change).collect();
        field_lines(message, &changes, Palette::new(false)).join("\n")
    }

    #[test]
    fn values_are_as_people_write_them() {
        insta::assert_snapshot!(lines(
            "DeploymentSpec",
            &[
                ("task.container.files[/app_conf].mode", Some("292"), Some("288")),
                ("task.container.tmpfs[/data].size_bytes", None, Some("67108864")),
                ("task.resources.limit.memory_bytes", Some("1500000000"), Some("1500000001")),
                ("task.resources.reservation.cpu_millis", Some("250"), Some("1500")),
                ("task.container.ports[80].protocol", None, Some("PORT_PROTOCOL_UDP")),
                ("task.on_node_loss.action", None, Some("NODE_LOSS_ACTION_STOP_AND_REPLACE")),
                ("task.stop_policy.grace", Some("90s"), Some("0.500s")),
                ("update_policy.on_failure", Some("ROLLOUT_FAILURE_ACTION_ROLLBACK"), None),
                ("update_policy.order", None, Some("UPDATE_ORDER_START_FIRST")),
                ("update_policy.progress_deadline", None, Some("600s")),
            ]
        ));
        insta::assert_snapshot!(lines(
            "JobSpec",
            &[
                ("schedule.missed_runs", None, Some("MISSED_RUNS_RUN_ONCE")),
                ("time_to_live", Some("604800s"), Some("5400s")),
            ]
        ));
    }

    #[test]
    fn what_users_named_and_wrote_is_shown_as_it_is() {
        let changes = [
            ("task.container.env.cpu_millis", None, Some("250")),
            ("task.container.env.mode", Some("292"), Some("600s")),
            ("labels[a.mode]", None, Some("PORT_PROTOCOL_UDP")),
            ("task.container.files[/a].b]/c].mode", None, Some("256")),
            ("task.container.files[/a].mode", None, Some("r--")),
            ("no.such.field", None, Some("1s")),
            ("global", None, Some("set")),
        ];
        assert_eq!(
            lines("DeploymentSpec", &changes),
            "+ task.container.env.cpu_millis: 250\n~ task.container.env.mode: 292 -> 600s\n\
             + labels[a.mode]: PORT_PROTOCOL_UDP\n+ task.container.files[/a].b]/c].mode: 0400\n\
             + task.container.files[/a].mode: r--\n+ no.such.field: 1s\n+ global: set"
        );
        assert_eq!(lines("NoSpec", &changes[..1]), "+ task.container.env.cpu_millis: 250");
    }

    #[test]
    fn a_secret_that_is_mounted_twice_changes_once() {
        let (old, new) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let change = |path| (path, Some(old.as_str()), Some(new.as_str()));
        let other = ("task.container.files[/c].digest", Some(new.as_str()), Some(old.as_str()));
        assert_eq!(
            lines(
                "DeploymentSpec",
                &[change("task.container.files[/a].digest"), other, change("task.container.files[/b].digest")]
            ),
            "~ task.container.files[/a, /b].digest: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb\n\
             ~ task.container.files[/c].digest: sha256:bbbbbbbbbbbb -> sha256:aaaaaaaaaaaa"
        );
    }
}
