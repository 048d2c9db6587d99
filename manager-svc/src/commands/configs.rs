//! What users ask of configs and secrets, and what goes of them once nothing refers to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::file::{Config, ConfigName, ConfigVersion, FileContent, FileDigest};
use davit_core::id::Revision;
use davit_core::spec::TaskSpec;

use super::Error;
use crate::state::{ClusterState, Draft, EventType};

/// How many configs and secrets there may be.
const MAX_CONFIGS: usize = 10_000;
/// How many bytes they may hold, each content counted once: all of it is in memory.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A config or a secret that is to be there.
#[derive(Debug, Clone)]
pub struct NewConfig {
    /// Which.
    pub name: ConfigName,
    /// What its newest version is to hold.
    pub content: FileContent,
    /// Labels, in place of those that it has.
    pub labels: BTreeMap<String, String>,
    /// The app that it comes with; empty: none.
    pub app: String,
}

/// Creates a config or a secret, or a new version of it; nothing, if it is so already.
///
/// # Errors
/// When one of this name belongs to another app, or there would be more than is kept.
pub fn put_config(draft: &mut Draft, new: NewConfig) -> Result<Arc<Config>, Error> {
    check_configs(draft.state(), std::slice::from_ref(&new))?;
    Ok(put(draft, new))
}

/// Puts one that was checked.
pub(super) fn put(draft: &mut Draft, new: NewConfig) -> Arc<Config> {
    let now = draft.now();
    let NewConfig { name, content, labels, app } = new;
    let digest = content.digest();
    let version = || ConfigVersion { digest, size_bytes: content.size_bytes(), created_at: now };
    let Some(before) = draft.state().config(&name).cloned() else {
        let (versions, revision) = (vec![version()], Revision::default());
        let config =
            Config { name, labels, app, versions, is_deleted: false, created_at: now, updated_at: now, revision };
        let message = format!("created: {digest}");
        return draft.put_config(config, Some(&content), EventType::ConfigCreated, message);
    };
    let is_newest = before.newest().is_some_and(|newest| newest.digest == digest);
    if is_newest && !before.is_deleted && before.labels == labels && before.app == app {
        return before;
    }
    let mut versions = before.versions.clone();
    if !is_newest {
        versions.retain(|version| version.digest != digest && draft.state().uses_version(&name, version.digest));
        versions.push(version());
    }
    let message = if is_newest { "changed".to_owned() } else { format!("new version: {digest}") };
    let config = Config { labels, app, versions, is_deleted: false, ..Config::clone(&before) };
    draft.put_config(config, Some(&content), EventType::ConfigUpdated, message)
}

/// Whether all of these may be put.
///
/// # Errors
/// When one of them belongs to another app, or there would be more than is kept.
pub(super) fn check_configs(state: &ClusterState, new: &[NewConfig]) -> Result<(), Error> {
    for config in new {
        if let Some(there) = state.config(&config.name).filter(|there| there.app != config.app) {
            let (config, app, asked) = (config.name.clone(), there.app.clone(), config.app.clone());
            return Err(Error::ConfigOfAnotherApp { config, app, asked });
        }
    }
    let more = new.iter().filter(|config| state.config(&config.name).is_none()).count();
    if more > 0 && state.config_count().saturating_add(more) > MAX_CONFIGS {
        return Err(Error::TooManyConfigs { max_configs: MAX_CONFIGS });
    }
    let contents = new.iter().map(|config| &config.content);
    let unknown = contents.filter(|content| state.content(content.digest()).is_none());
    let sizes: BTreeMap<FileDigest, u64> = unknown.map(|content| (content.digest(), content.size_bytes())).collect();
    let (there, more) = (state.content_bytes(), sizes.values().sum::<u64>());
    if more > 0 && there.saturating_add(more) > MAX_BYTES {
        return Err(Error::TooManyConfigBytes { there, more, max_bytes: MAX_BYTES });
    }
    Ok(())
}

/// Deletes one with all its versions. Says the revision after that.
///
/// # Errors
/// When there is none, or something refers to it.
pub fn delete_config(draft: &mut Draft, name: &ConfigName) -> Result<Revision, Error> {
    let state = draft.state();
    let Some(config) = state.config(name) else { return Err(Error::ConfigNotFound { config: name.clone() }) };
    if config.versions.iter().any(|version| state.uses_version(name, version.digest)) {
        return Err(Error::ConfigInUse { config: name.clone(), user: user_of(state, name) });
    }
    draft.remove_config(name, "deleted");
    Ok(draft.state().revision())
}

/// Something that refers to it, in words.
fn user_of(state: &ClusterState, name: &ConfigName) -> String {
    let refers = |spec: &Arc<TaskSpec>| spec.files().iter().any(|grant| grant.config == *name);
    let deployment = state.deployments().find(|deployment| deployment.task_specs().any(refers));
    if let Some(deployment) = deployment {
        return format!("deployment `{}`", deployment.name);
    }
    match state.jobs().find(|job| job.task_specs().any(refers)) {
        Some(job) => format!("job `{}`", job.name),
        None => "a task; ended ones count until they are deleted".to_owned(),
    }
}

/// Has all of an app go, but for these, once nothing refers to them.
pub(super) fn abandon(draft: &mut Draft, app: &str, kept: impl Fn(&ConfigName) -> bool) {
    let of_app = |config: &&Arc<Config>| config.app == app && !config.is_deleted && !kept(&config.name);
    let abandoned: Vec<Arc<Config>> = draft.state().configs().filter(of_app).cloned().collect();
    for config in abandoned {
        let config = Config { is_deleted: true, ..Config::clone(&config) };
        draft.put_config(config, None, EventType::ConfigUpdated, "its app has it no more");
    }
}

/// Lets versions go to which nothing refers any more, but for the newest of each name, and those that are deleted whole; at most
/// so many of them.
pub fn let_go_of_versions(draft: &mut Draft, limit: usize) {
    let loose: Vec<Arc<Config>> = draft.state().loose_configs().take(limit).cloned().collect();
    for config in loose {
        let state = draft.state();
        let mut versions = config.versions.clone();
        let newest = config.newest().map(|version| version.digest).filter(|_| !config.is_deleted);
        versions.retain(|version| Some(version.digest) == newest || state.uses_version(&config.name, version.digest));
        if versions.is_empty() {
            draft.remove_config(&config.name, "deleted: nothing refers to it any more");
        } else if versions.len() < config.versions.len() {
            let config = Config { versions, ..Config::clone(&config) };
            let message = "let old versions go: nothing refers to them any more";
            draft.put_config(config, None, EventType::ConfigUpdated, message);
        }
    }
}
