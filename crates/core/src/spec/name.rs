//! Names, label keys and environment keys: what is allowed, and errors that say so.

/// The longest name of a task or node, in bytes: fits a DNS label and a host name.
pub const MAX_NAME_BYTES: usize = 63;
/// The longest label key, in bytes.
pub(super) const MAX_LABEL_KEY_BYTES: usize = 128;
/// The longest label value, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 4096;

/// Why a text can't be a name or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Too long.
    #[error("has at most {max} bytes, this one has {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// A character that is not allowed.
    #[error("`{text}` may hold only {allowed}")]
    BadCharacter {
        /// The text.
        text: String,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

fn check(
    text: &str,
    max: usize,
    first: impl Fn(char) -> bool,
    rest: impl Fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), ParseNameError> {
    if text.is_empty() {
        return Err(ParseNameError::Empty);
    }
    if text.len() > max {
        return Err(ParseNameError::TooLong { len: text.len(), max });
    }
    if text.starts_with(first) && text.chars().all(rest) {
        Ok(())
    } else {
        Err(ParseNameError::BadCharacter { text: text.to_owned(), allowed })
    }
}

/// Checks the name of a task or node.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_name(text: &str) -> Result<(), ParseNameError> {
    check(
        text,
        MAX_NAME_BYTES,
        |c| c.is_ascii_alphanumeric(),
        |c| c.is_ascii_alphanumeric() || "-_.".contains(c),
        "ASCII letters, digits and - _ . and must start with a letter or digit",
    )
}

/// Checks the name of an app.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_app_name(text: &str) -> Result<(), ParseNameError> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    check(
        text,
        MAX_NAME_BYTES,
        is_word,
        |c| is_word(c) || "-_".contains(c),
        "lower-case ASCII letters, digits and - _ and must start with a letter or digit",
    )
}

/// Checks the key of a label.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_label_key(text: &str) -> Result<(), ParseNameError> {
    check(
        text,
        MAX_LABEL_KEY_BYTES,
        |c| c.is_ascii_alphanumeric(),
        |c| c.is_ascii_alphanumeric() || "-_./".contains(c),
        "ASCII letters, digits and - _ . / and must start with a letter or digit",
    )
}

/// Checks the value of a label. Anything printable, also nothing.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_label_value(text: &str) -> Result<(), ParseNameError> {
    if text.len() > MAX_LABEL_VALUE_BYTES {
        return Err(ParseNameError::TooLong { len: text.len(), max: MAX_LABEL_VALUE_BYTES });
    }
    if text.chars().any(char::is_control) {
        return Err(ParseNameError::BadCharacter { text: text.escape_debug().to_string(), allowed: "printable text" });
    }
    Ok(())
}

/// Checks the name of an environment variable.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_env_key(text: &str) -> Result<(), ParseNameError> {
    check(
        text,
        MAX_LABEL_KEY_BYTES,
        |c| c.is_ascii_alphabetic() || c == '_',
        |c| c.is_ascii_graphic() && c != '=',
        "printable ASCII without = and must start with a letter or _",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(check_name("web-1.a_B"), Ok(()));
        assert_eq!(check_name(""), Err(ParseNameError::Empty));
        assert!(check_name("-a").is_err());
        assert!(check_name("a b").is_err());
        assert!(check_name("ä").is_err());
        assert_eq!(check_name(&"a".repeat(63)), Ok(()));
        assert_eq!(check_name(&"a".repeat(64)), Err(ParseNameError::TooLong { len: 64, max: 63 }));
    }

    #[test]
    fn apps_have_the_names_of_compose_projects() {
        assert_eq!(check_app_name("my-shop_2"), Ok(()));
        for name in ["", "Shop", "-a", "_a", "a.b", "a b"] {
            assert!(check_app_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn environment_keys_have_no_equals_sign() {
        assert_eq!(check_env_key("PATH"), Ok(()));
        assert!(check_env_key("A=B").is_err());
        assert!(check_env_key("1A").is_err());
    }
}
