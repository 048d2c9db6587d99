//! Every key of the Compose Specification, and what Davit does with it. The reader takes its messages from here, and
//! `docs/compose.md` is made of it.

mod container;
mod davit;
mod deploy;
mod service;
mod top;

/// What Davit does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Support {
    /// What the Compose Specification says.
    Supported,
    /// Accepted, and something is not as with Docker Compose; the note says what.
    Differs,
    /// An error, or a warning for a lenient reader; the note says why.
    Refused,
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What Davit does with it.
    pub support: Support,
    /// One sentence on it.
    pub note: &'static str,
}

/// The keys of one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Where the mapping is: `*` is a name, `[]` an item of a list; empty for the whole file.
    pub path: &'static str,
    /// Its keys, by name.
    pub keys: &'static [Key],
}

impl Section {
    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// A key that someone who wrote `name` may have meant.
    pub(crate) fn like(&self, name: &str) -> Option<&'static str> {
        /// Less alike is a guess.
        const ALIKE: f64 = 0.75;
        /// No key is longer, by far.
        const MAX_BYTES: usize = 40;
        if name.len() > MAX_BYTES {
            return None;
        }
        let name = name.to_lowercase().replace('-', "_");
        let alike = self.keys.iter().map(|key| (strsim::normalized_damerau_levenshtein(key.name, &name), key));
        let supported = alike.map(|(alike, key)| (alike, key.support != Support::Refused, key.name));
        let best = supported.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        (best.0 >= ALIKE).then_some(best.2)
    }
}

pub(crate) use self::container::{
    BIND_OPTIONS, CONFIG_GRANT, DEPENDENCY, ENV_FILE, HEALTH_CHECK, LOG_OPTIONS, LOGGING, PORT, SECRET_GRANT,
    SERVICE_NETWORK, SERVICE_VOLUME, TMPFS_OPTIONS, ULIMIT, VOLUME_OPTIONS,
};
pub(crate) use self::davit::{HISTORY, JOB, SERVICE_DAVIT, WAIT};
pub(crate) use self::deploy::{
    DEPLOY, LIMITS, PLACEMENT, PREFERENCE, RESERVATIONS, RESOURCES, RESTART_POLICY, ROLLBACK, UPDATE,
};
pub(crate) use self::service::SERVICE;
pub(crate) use self::top::{CONFIG, NETWORK, PROJECT, PROJECT_DAVIT, SECRET, VOLUME};

/// Every mapping that has keys of its own.
pub const SECTIONS: &[&Section] = &[
    PROJECT,
    SERVICE,
    DEPENDENCY,
    ENV_FILE,
    HEALTH_CHECK,
    LOGGING,
    LOG_OPTIONS,
    PORT,
    SERVICE_VOLUME,
    BIND_OPTIONS,
    VOLUME_OPTIONS,
    TMPFS_OPTIONS,
    SERVICE_NETWORK,
    CONFIG_GRANT,
    SECRET_GRANT,
    ULIMIT,
    DEPLOY,
    RESOURCES,
    LIMITS,
    RESERVATIONS,
    RESTART_POLICY,
    UPDATE,
    ROLLBACK,
    PLACEMENT,
    PREFERENCE,
    SERVICE_DAVIT,
    WAIT,
    JOB,
    HISTORY,
    NETWORK,
    VOLUME,
    CONFIG,
    SECRET,
    PROJECT_DAVIT,
];

const fn yes(name: &'static str, note: &'static str) -> Key {
    Key { name, support: Support::Supported, note }
}

const fn differs(name: &'static str, note: &'static str) -> Key {
    Key { name, support: Support::Differs, note }
}

const fn no(name: &'static str, note: &'static str) -> Key {
    Key { name, support: Support::Refused, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_specification_is_in_the_table() {
        let table = |path: &str| {
            let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
            SECTIONS.iter().find(|known| known.path == section).and_then(|section| section.key(name))
        };
        for path in include_str!("../tests/compose-spec-keys.txt").lines().filter(|line| !line.starts_with('#')) {
            assert!(table(path).is_some(), "{path}");
        }
    }

    #[test]
    fn keys_are_sorted_and_have_a_sentence() {
        for section in SECTIONS {
            assert!(section.keys.is_sorted_by_key(|key| key.name), "{}", section.path);
            for key in section.keys {
                assert!(!key.note.is_empty() && !key.note.ends_with('.'), "{}.{}", section.path, key.name);
            }
        }
    }

    #[test]
    fn typing_errors_are_known() {
        for (written, meant) in [
            ("dpeloy", Some("deploy")),
            ("comand", Some("command")),
            ("Image", Some("image")),
            ("depends-on", Some("depends_on")),
            ("enviroment", Some("environment")),
            ("healthchek", Some("healthcheck")),
            ("volume", Some("volumes")),
            ("foo", None),
        ] {
            assert_eq!(SERVICE.like(written), meant, "{written}");
        }
    }
}
