//! Texts that a runtime hands to the kernel: commands, environments, paths, users.

use std::collections::BTreeMap;

use super::path::{FieldPath, entry, item};
use davit_core::spec::check_env_key;
use davit_core::validate::Violations;

/// The kernel takes no longer argument or environment entry (`MAX_ARG_STRLEN`, with its terminating NUL).
const MAX_ARGUMENT_BYTES: usize = 128 * 1024 - 1;
/// The kernel takes no longer path (`PATH_MAX`, with its terminating NUL).
const MAX_PATH_BYTES: usize = 4095;
/// The engine takes no higher uid or gid.
const MAX_USER_NUMBER: u32 = i32::MAX.unsigned_abs();

/// Checks what is common to arguments and environment values.
fn check_argument(text: &str, taken: usize, path: &FieldPath<'_>, violations: &mut Violations) {
    if text.contains('\0') {
        violations.add(path, "must not contain a NUL byte");
    } else if text.len() + taken > MAX_ARGUMENT_BYTES {
        violations.add(path, format!("has at most {MAX_ARGUMENT_BYTES} bytes, this has {}", text.len() + taken));
    }
}

/// Checks a program's arguments.
pub(super) fn check_arguments(arguments: &[String], path: &FieldPath<'_>, violations: &mut Violations) {
    for (index, argument) in arguments.iter().enumerate() {
        check_argument(argument, 0, &item(path, index), violations);
    }
}

/// Checks a program and its arguments.
pub(super) fn check_command(command: &[String], path: &FieldPath<'_>, violations: &mut Violations) {
    match command.first() {
        None => violations.add(path, "needs at least the program"),
        Some(program) if program.is_empty() => violations.add(item(path, 0), "the program must not be empty"),
        Some(_) => {}
    }
    check_arguments(command, path, violations);
}

/// Checks environment variables.
pub(super) fn check_env(env: &BTreeMap<String, String>, path: &FieldPath<'_>, violations: &mut Violations) {
    for (key, value) in env {
        if let Err(error) = check_env_key(key) {
            violations.add(entry(path, key), format!("the name {error}"));
        }
        check_argument(value, key.len() + 1, &entry(path, key), violations);
    }
}

/// Checks a path that must be absolute and lead nowhere but where it says. Gives it without repeated and trailing slashes,
/// so that equal paths compare equal.
pub(super) fn check_absolute_path(text: &str, path: &FieldPath<'_>, violations: &mut Violations) -> Option<String> {
    let problem = if text.is_empty() {
        "is needed: an absolute path".to_owned()
    } else if text.contains('\0') {
        "must not contain a NUL byte".to_owned()
    } else if text.len() > MAX_PATH_BYTES {
        format!("has at most {MAX_PATH_BYTES} bytes, this has {}", text.len())
    } else if !text.starts_with('/') {
        format!("`{}` is not an absolute path: it must start with /", text.escape_debug())
    } else if text.split('/').any(|part| part == "..") {
        format!("`{}` must not contain ..", text.escape_debug())
    } else {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        return Some(format!("/{}", parts.join("/")));
    };
    violations.add(path, problem);
    None
}

/// Checks a working directory, which may be empty.
pub(super) fn check_working_dir(text: &str, path: &FieldPath<'_>, violations: &mut Violations) {
    if !text.is_empty() {
        check_absolute_path(text, path, violations);
    }
}

/// Checks `user`, `uid`, `user:group` or `uid:gid`, which may be empty.
pub(super) fn check_user(text: &str, path: &FieldPath<'_>, violations: &mut Violations) {
    if text.is_empty() {
        return;
    }
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if !is_user(user) || !group.is_none_or(is_user) {
        let shown: String = text.chars().take(64).collect();
        let shown = shown.escape_debug();
        violations.add(path, format!("`{shown}` is not a user; write user, uid, user:group or uid:gid"));
    }
}

/// Whether it is the name or the number of a user or group.
pub(super) fn is_user(text: &str) -> bool {
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit()) {
        return text.parse::<u32>().is_ok_and(|number| number <= MAX_USER_NUMBER);
    }
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// Checks the name of an engine's volume.
pub(super) fn check_volume_name(text: &str, path: &FieldPath<'_>, violations: &mut Violations) {
    let valid = (2..=255).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !valid {
        let allowed = "2 to 255 ASCII letters, digits and _ . - that start with a letter or digit";
        violations.add(path, format!("a volume's name is {allowed}; for a path of the node use bind_path"));
    }
}

/// Checks a short printable text that must be there, such as an address.
pub(super) fn check_printable(text: &str, path: &FieldPath<'_>, violations: &mut Violations) {
    if text.is_empty() {
        violations.add(path, "is needed");
    } else if text.len() > 255 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        violations.add(path, "has at most 255 printable bytes without spaces");
    }
}

/// How much of a reason is kept that a worker or a scheduler gave, in bytes.
pub const MAX_REASON_BYTES: usize = 4096;

/// What is kept of a reason that a worker or a scheduler gave: engines can be long-winded, and the manager keeps it for every task.
#[must_use]
pub fn kept_reason(reason: String) -> String {
    truncated(reason, MAX_REASON_BYTES)
}

/// The start of a text, cut between characters so that it has at most `max` bytes.
pub(super) fn truncated(mut text: String, max: usize) -> String {
    if text.len() > max {
        let mut end = max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
