//! Fields that several requests have.

use davit_core::validate::Violations;
use davit_proto::convert;

const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request id, which may be left out.
pub(super) fn check_request_id(request_id: &str, violations: &mut Violations) {
    check_text("request_id", request_id, MAX_REQUEST_ID_BYTES, violations);
}

/// Who makes a change, which may be left out.
pub(super) fn check_author(author: &str, violations: &mut Violations) {
    check_text("author", author, convert::MAX_AUTHOR_BYTES, violations);
}

fn check_text(field: &str, text: &str, max_bytes: usize, violations: &mut Violations) {
    if text.len() > max_bytes {
        violations.add(field, format!("has at most {max_bytes} bytes, this has {}", text.len()));
    } else if text.chars().any(char::is_control) {
        violations.add(field, "has only characters that can be printed");
    }
}

/// The name in the new spec of something that is there: the same, or left out, which is filled in.
pub(super) fn keep_name(name: &mut String, name_now: &str, violations: &mut Violations) {
    if name.is_empty() {
        name_now.clone_into(name);
    } else if name != name_now {
        violations.add("spec.name", format!("never changes: it is `{name_now}`"));
    }
}
