//! Configs and secrets, and the files that containers are given of them.

use std::collections::BTreeMap;

use davit_core::file::{
    Config, ConfigKind, ConfigName, ConfigVersion, FileContent, FileDigest, FileGrant, MAX_CONTENT_BYTES,
};
use davit_core::spec::check_name;
use davit_core::validate::Violations;

use super::common::timestamp_to_proto;
use super::container::check_target;
use super::path::{FieldPath, field, item};
use crate::v1;

/// How many files a container may be given.
pub const MAX_FILES: usize = 64;
/// Where secrets are, unless their targets say otherwise.
const SECRETS_DIRECTORY: &str = "/run/secrets";

/// Reads the files of a container.
pub(super) fn files_from_proto(
    files: Vec<v1::FileGrant>,
    path: &FieldPath<'_>,
    targets: &mut BTreeMap<String, String>,
    violations: &mut Violations,
) -> Vec<FileGrant> {
    if files.len() > MAX_FILES {
        violations.add(path, format!("has at most {MAX_FILES} entries, this has {}", files.len()));
        return Vec::new();
    }
    let read = |(index, grant): (usize, v1::FileGrant)| {
        let path = item(path, index);
        let v1::FileGrant { name, secret, digest, target, uid, gid, mode } = grant;
        violations.check(field(&path, "name"), check_name(&name))?;
        let kind = if secret { ConfigKind::Secret } else { ConfigKind::Config };
        let digest = match digest.as_str() {
            "" => None,
            text => Some(violations.check(field(&path, "digest"), text.parse::<FileDigest>())?),
        };
        let target = match (target.as_str(), kind) {
            ("", ConfigKind::Config) => format!("/{name}"),
            ("", ConfigKind::Secret) => format!("{SECRETS_DIRECTORY}/{name}"),
            _ => target,
        };
        check_target(&target, &field(&path, "target"), targets, violations);
        for (which, number) in [("uid", uid), ("gid", gid)] {
            if i32::try_from(number).is_err() {
                violations.add(field(&path, which), format!("is at most {}", i32::MAX));
            }
        }
        let mode = mode.unwrap_or(FileGrant::DEFAULT_MODE);
        if mode > FileGrant::MAX_MODE {
            violations.add(field(&path, "mode"), format!("{mode} is above 511, which is 0777 in octal"));
        }
        Some(FileGrant { config: ConfigName { kind, name }, digest, target, uid, gid, mode })
    };
    files.into_iter().enumerate().filter_map(read).collect()
}

/// Writes a file of a container.
pub(super) fn file_to_proto(grant: &FileGrant) -> v1::FileGrant {
    let FileGrant { config, digest, target, uid, gid, mode } = grant;
    v1::FileGrant {
        name: config.name.clone(),
        secret: config.kind == ConfigKind::Secret,
        digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        target: target.clone(),
        uid: *uid,
        gid: *gid,
        mode: Some(*mode),
    }
}

/// Reads which config or secret is meant.
pub fn config_name_from_proto(name: String, kind: i32, violations: &mut Violations) -> Option<ConfigName> {
    let kind = config_kind_from_proto(kind);
    if kind.is_none() {
        violations.add("kind", "is needed: CONFIG_KIND_CONFIG or CONFIG_KIND_SECRET");
    }
    violations.check("name", check_name(&name))?;
    Some(ConfigName { kind: kind?, name })
}

/// Reads which of both is meant; `None`: that is not said, or not understood.
#[must_use]
pub fn config_kind_from_proto(kind: i32) -> Option<ConfigKind> {
    match v1::ConfigKind::try_from(kind) {
        Ok(v1::ConfigKind::Config) => Some(ConfigKind::Config),
        Ok(v1::ConfigKind::Secret) => Some(ConfigKind::Secret),
        Ok(v1::ConfigKind::Unspecified) | Err(_) => None,
    }
}

/// Writes which of both is meant.
#[must_use]
pub fn config_kind_to_proto(kind: ConfigKind) -> v1::ConfigKind {
    match kind {
        ConfigKind::Config => v1::ConfigKind::Config,
        ConfigKind::Secret => v1::ConfigKind::Secret,
    }
}

/// Reads what a file holds.
pub fn content_from_proto(content: Vec<u8>, violations: &mut Violations) -> Option<FileContent> {
    if content.len() > MAX_CONTENT_BYTES {
        violations.add("content", format!("has at most {MAX_CONTENT_BYTES} bytes, this has {}", content.len()));
        return None;
    }
    Some(FileContent::new(content))
}

/// Writes a config or a secret, without what it holds.
#[must_use]
pub fn config_to_proto(config: &Config) -> v1::Config {
    let Config { name, labels, app, versions, is_deleted, created_at, updated_at, revision } = config;
    let version = |version: &ConfigVersion| v1::ConfigVersion {
        digest: version.digest.to_string(),
        size_bytes: version.size_bytes,
        create_time: Some(timestamp_to_proto(version.created_at)),
    };
    v1::Config {
        name: name.name.clone(),
        kind: config_kind_to_proto(name.kind).into(),
        labels: labels.clone(),
        app: app.clone(),
        versions: versions.iter().rev().map(version).collect(),
        deleting: *is_deleted,
        create_time: Some(timestamp_to_proto(*created_at)),
        update_time: Some(timestamp_to_proto(*updated_at)),
        revision: revision.0,
    }
}
