//! Image references, by the grammar of the distribution project.

use std::fmt;
use std::str::FromStr;

/// `[registry[:port]/]path[:tag][@digest]`, as `docker pull` takes it. A missing tag means `latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    text: String,
    name_end: usize,
    tag: Option<(usize, usize)>,
    digest_start: Option<usize>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseImageError {
    /// Nothing there.
    #[error("an image is needed, such as busybox or ghcr.io/org/app:1.2")]
    Empty,
    /// Over 255 bytes, what registries accept.
    #[error("an image name has at most 255 bytes, this one has {len}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// The name part is wrong.
    #[error("`{text}` is not an image name: lower-case letters, digits and . _ - between slashes, such as org/app:1.2")]
    BadName {
        /// The whole reference.
        text: String,
    },
    /// The part after the colon is wrong.
    #[error("`{tag}` is not a tag: up to 128 letters, digits and _ . - that start with a letter, digit or _")]
    BadTag {
        /// The tag.
        tag: String,
    },
    /// The part after the at-sign is wrong.
    #[error("`{digest}` is not a digest such as sha256: followed by 64 hexadecimal digits")]
    BadDigest {
        /// The digest.
        digest: String,
    },
}

impl ImageReference {
    /// The whole reference, as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Registry and path, without tag and digest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..self.name_end]
    }

    /// What is pulled of that name: the digest if there is one, else the tag, else `latest`.
    #[must_use]
    pub fn version(&self) -> &str {
        match (self.digest_start, self.tag) {
            (Some(start), _) => &self.text[start..],
            (None, Some((start, end))) => &self.text[start..end],
            (None, None) => "latest",
        }
    }
}

impl FromStr for ImageReference {
    type Err = ParseImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseImageError::Empty);
        }
        if text.len() > 255 {
            return Err(ParseImageError::TooLong { len: text.len() });
        }
        let bad_name = || ParseImageError::BadName { text: text.to_owned() };
        let (rest, digest_start) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(rest.len() + 1)),
            Some((_, digest)) => return Err(ParseImageError::BadDigest { digest: digest.to_owned() }),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the registry's port.
        let last_component = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name_end, tag) = match rest[last_component..].find(':') {
            Some(at) => {
                let start = last_component + at + 1;
                if !is_tag(&rest[start..]) {
                    return Err(ParseImageError::BadTag { tag: rest[start..].to_owned() });
                }
                (start - 1, Some((start, rest.len())))
            }
            None => (rest.len(), None),
        };
        let components: Vec<&str> = rest[..name_end].split('/').collect();
        let has_registry = components.len() > 1 && (components[0].contains(['.', ':']) || components[0] == "localhost");
        let (registry, path) = components.split_at(usize::from(has_registry));
        let valid = registry.iter().all(|registry| is_registry(registry))
            && !path.is_empty()
            && path.iter().all(|component| is_path_component(component));
        if !valid {
            return Err(bad_name());
        }
        Ok(Self { text: text.to_owned(), name_end, tag, digest_start })
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_valid = !host.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        });
    host_valid && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_path_component(text: &str) -> bool {
    let separator = |c: char| "._-".contains(c);
    !text.is_empty()
        && !text.starts_with(separator)
        && !text.ends_with(separator)
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || separator(c))
        && !text.contains("..")
        && !text.contains("___")
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return false,
        };
        hex.len() == length && hex.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    })
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, name, version) in [
            ("busybox", "busybox", "latest"),
            ("org/app:1.2", "org/app", "1.2"),
            ("localhost:5000/a/b:x", "localhost:5000/a/b", "x"),
            ("ghcr.io/org/app", "ghcr.io/org/app", "latest"),
            (&format!("busybox:1@{digest}"), "busybox", &digest),
        ] {
            let image: ImageReference = text.parse().unwrap();
            assert_eq!((image.name(), image.version()), (name, version), "{text}");
        }
    }

    #[test]
    fn wrong_references_say_why() {
        for (text, part) in [
            ("", "needed"),
            ("BusyBox", "not an image name"),
            ("a b", "not an image name"),
            ("/a", "not an image name"),
            ("a//b", "not an image name"),
            ("a:", "not a tag"),
            ("a:b c", "not a tag"),
            ("a@sha256:12", "not a digest"),
            ("-a", "not an image name"),
        ] {
            let error = text.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            if let Ok(image) = text.parse::<ImageReference>() {
                prop_assert!(!image.name().is_empty());
                prop_assert!(!image.version().is_empty());
            }
        }
    }
}
