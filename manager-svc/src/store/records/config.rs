//! Configs and secrets, without what they hold.

use davit_core::file::{Config, ConfigKind, ConfigName, ConfigVersion, FileDigest};
use davit_core::id::Revision;
use davit_core::spec::check_name;
use davit_proto::{convert, store_v1};

use super::{Malformed, malformed, time_from, time_to};

/// Writes a config or a secret.
pub(in crate::store) fn config_to_record(config: &Config) -> store_v1::ConfigRecord {
    let Config { name, labels, app, versions, is_deleted, created_at, updated_at, revision } = config;
    let version = |version: &ConfigVersion| store_v1::ConfigVersionRecord {
        digest: version.digest.as_bytes().to_vec(),
        size_bytes: version.size_bytes,
        create_time: Some(time_to(version.created_at)),
    };
    store_v1::ConfigRecord {
        name: name.name.clone(),
        kind: convert::config_kind_to_proto(name.kind).into(),
        labels: labels.clone(),
        app: app.clone(),
        versions: versions.iter().map(version).collect(),
        is_deleted: *is_deleted,
        create_time: Some(time_to(*created_at)),
        update_time: Some(time_to(*updated_at)),
        revision: revision.0,
    }
}

/// Reads a config or a secret.
pub(in crate::store) fn config_from_record(record: store_v1::ConfigRecord) -> Result<Config, Malformed> {
    let Some(kind) = convert::config_kind_from_proto(record.kind) else {
        return malformed(format!("kind {} is not known", record.kind));
    };
    check_name(&record.name).map_err(|problem| Malformed(format!("its name {problem}")))?;
    let version = |version: store_v1::ConfigVersionRecord| {
        Ok::<_, Malformed>(ConfigVersion {
            digest: digest_from(&version.digest)?,
            size_bytes: version.size_bytes,
            created_at: time_from(version.create_time, "create_time")?,
        })
    };
    let versions: Vec<_> = record.versions.into_iter().map(version).collect::<Result<_, _>>()?;
    if versions.is_empty() {
        return malformed("it has no version");
    }
    Ok(Config {
        name: ConfigName { kind, name: record.name },
        labels: record.labels,
        app: record.app,
        versions,
        is_deleted: record.is_deleted,
        created_at: time_from(record.create_time, "create_time")?,
        updated_at: time_from(record.update_time, "update_time")?,
        revision: Revision(record.revision),
    })
}

/// Reads a digest.
fn digest_from(bytes: &[u8]) -> Result<FileDigest, Malformed> {
    match bytes.try_into() {
        Ok(bytes) => Ok(FileDigest::from_bytes(bytes)),
        Err(_) => malformed(format!("a digest has {} bytes instead of 32", bytes.len())),
    }
}

/// The key of a config's or a secret's record.
pub(in crate::store) fn config_name_key(name: &ConfigName) -> Vec<u8> {
    let kind = match name.kind {
        ConfigKind::Config => "c",
        ConfigKind::Secret => "s",
    };
    format!("{kind}/{}", name.name).into_bytes()
}
