//! Configs and secrets: their versions, what those hold, and which of them specs refer to.

use davit_core::file::{Config, ConfigName, FileContent, FileDigest};
use davit_core::spec::TaskSpec;
use imbl::{OrdMap, OrdSet};
use std::sync::Arc;

use super::ClusterState;

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    by_name: OrdMap<ConfigName, Arc<Config>>,
    /// What versions hold, and how many versions hold it.
    contents: OrdMap<FileDigest, (FileContent, u32)>,
    /// By how many specs of tasks and deployments each version is referred to.
    uses: OrdMap<(ConfigName, FileDigest), u32>,
    /// Those that may have something to which nothing refers any more.
    loose: OrdSet<ConfigName>,
    bytes: u64,
}

impl Files {
    /// Takes in content that a store has; its versions count it.
    pub(super) fn load_content(&mut self, content: FileContent) {
        self.bytes += content.size_bytes();
        self.contents.insert(content.digest(), (content, 0));
    }

    /// Counts one version more that holds this. True when it was not there before.
    pub(super) fn hold(&mut self, digest: FileDigest, content: Option<&FileContent>) -> bool {
        if let Some((_, versions)) = self.contents.get_mut(&digest) {
            *versions += 1;
            return false;
        }
        let Some(content) = content else { return false };
        self.bytes += content.size_bytes();
        self.contents.insert(digest, (content.clone(), 1));
        true
    }

    /// Counts one version less that holds this. True when it is gone.
    pub(super) fn release(&mut self, digest: FileDigest) -> bool {
        let Some((content, versions)) = self.contents.get_mut(&digest) else { return false };
        *versions = versions.saturating_sub(1);
        if *versions > 0 {
            return false;
        }
        self.bytes = self.bytes.saturating_sub(content.size_bytes());
        self.contents.remove(&digest);
        true
    }

    /// Puts one in the place of the one of its name, or removes that.
    pub(super) fn set(&mut self, name: &ConfigName, config: Option<Arc<Config>>) -> Option<Arc<Config>> {
        let before = match config {
            Some(config) => self.by_name.insert(name.clone(), config),
            None => self.by_name.remove(name),
        };
        self.look_at(name);
        before
    }

    /// A spec has its first user.
    pub(super) fn spec_is_used(&mut self, spec: &TaskSpec) {
        for grant in spec.files() {
            let Some(digest) = grant.digest else { continue };
            let uses = self.uses.entry((grant.config.clone(), digest)).or_default();
            *uses += 1;
            if *uses == 1 {
                self.look_at(&grant.config);
            }
        }
    }

    /// A spec has no user any more.
    pub(super) fn spec_is_unused(&mut self, spec: &TaskSpec) {
        for grant in spec.files() {
            let Some(digest) = grant.digest else { continue };
            let key = (grant.config.clone(), digest);
            let Some(uses) = self.uses.get_mut(&key) else { continue };
            *uses = uses.saturating_sub(1);
            if *uses == 0 {
                self.uses.remove(&key);
                self.look_at(&grant.config);
            }
        }
    }

    /// Looks at all, once it is known what specs refer to.
    pub(super) fn look_at_all(&mut self) {
        let names: Vec<ConfigName> = self.by_name.keys().cloned().collect();
        names.iter().for_each(|name| self.look_at(name));
    }

    /// Notes whether something of it is to go.
    fn look_at(&mut self, name: &ConfigName) {
        let has_loose = self.by_name.get(name).is_some_and(|config| self.is_loose(config));
        if has_loose {
            self.loose.insert(name.clone());
        } else {
            self.loose.remove(name);
        }
    }

    fn is_loose(&self, config: &Config) -> bool {
        let newest = config.newest().map(|version| version.digest);
        let goes = |digest| !self.is_used(&config.name, digest) && (config.is_deleted || Some(digest) != newest);
        config.versions.iter().any(|version| goes(version.digest))
    }

    fn is_used(&self, name: &ConfigName, digest: FileDigest) -> bool {
        self.uses.contains_key(&(name.clone(), digest))
    }
}

impl ClusterState {
    /// A config or a secret.
    #[must_use]
    pub fn config(&self, name: &ConfigName) -> Option<&Arc<Config>> {
        self.files.by_name.get(name)
    }

    /// All configs by name, then all secrets by name.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.files.by_name.values()
    }

    /// Those that come after this one.
    pub(crate) fn configs_after(&self, name: Option<&ConfigName>) -> impl Iterator<Item = &Arc<Config>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = name.map_or(Unbounded, |name| Excluded(name.clone()));
        self.files.by_name.range((from, Unbounded)).map(|(_, config)| config)
    }

    /// What a version holds.
    #[must_use]
    pub fn content(&self, digest: FileDigest) -> Option<&FileContent> {
        self.files.contents.get(&digest).map(|(content, _)| content)
    }

    /// What all versions hold, each content once.
    pub fn contents(&self) -> impl Iterator<Item = &FileContent> {
        self.files.contents.values().map(|(content, _)| content)
    }

    /// The content after the one of this digest.
    pub(crate) fn content_after(&self, digest: Option<FileDigest>) -> Option<&FileContent> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = digest.map_or(Unbounded, Excluded);
        self.files.contents.range((from, Unbounded)).next().map(|(_, (content, _))| content)
    }

    /// How many bytes all versions hold, each content counted once.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.files.bytes
    }

    /// How many configs and secrets there are.
    #[must_use]
    pub fn config_count(&self) -> usize {
        self.files.by_name.len()
    }

    /// Whether a task or a deployment refers to this version.
    #[must_use]
    pub fn uses_version(&self, name: &ConfigName, digest: FileDigest) -> bool {
        self.files.is_used(name, digest)
    }

    /// Those of which something is to go.
    pub(crate) fn loose_configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.files.loose.iter().filter_map(|name| self.files.by_name.get(name))
    }
}
