//! What a spec needs of the cluster when it comes in.

use std::collections::BTreeMap;

use davit_core::file::ConfigName;
use davit_core::spec::TaskSpec;

use super::{Error, NewConfig};
use crate::state::ClusterState;

/// How many named volumes may have a home. What is on nodes is kept until someone has it forgotten, so these grow with every new name.
const MAX_VOLUMES: usize = 100_000;

/// Makes sure that there is all to which a spec refers, in the cluster or among what comes with it, and that there may be its volumes.
///
/// # Errors
/// When a config or secret is not there, which may have gone since the caller looked, or there would be more volumes than there may be.
pub(super) fn check_needs(
    state: &ClusterState,
    spec: &TaskSpec,
    coming: &BTreeMap<ConfigName, NewConfig>,
) -> Result<(), Error> {
    for grant in spec.files() {
        let Some(digest) = grant.digest else { return Err(Error::ConfigNotFound { config: grant.config.clone() }) };
        let comes = coming.get(&grant.config).is_some_and(|new| new.content.digest() == digest);
        let is_there = || state.config(&grant.config).is_some_and(|there| there.has(digest) && !there.is_deleted);
        if !comes && !is_there() {
            return Err(Error::ConfigVersionGone { config: grant.config.clone(), digest });
        }
    }
    check_volumes(state, spec, MAX_VOLUMES)
}

fn check_volumes(state: &ClusterState, spec: &TaskSpec, max_volumes: usize) -> Result<(), Error> {
    let is_new = |name: &str| state.volume(name).is_none();
    match spec.volumes().find(|name| is_new(name)) {
        Some(volume) if state.volume_count() >= max_volumes => {
            Err(Error::TooManyVolumes { volume: volume.to_owned(), max_volumes })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::test_support::{Cluster, mounting};

    #[test]
    fn volumes_that_are_somewhere_may_be_mounted_however_many_there_are_and_new_ones_only_up_to_the_limit() {
        let mut cluster = Cluster::new(1);
        let task = cluster.create(mounting(&["data"]));
        cluster.place(task, 1);
        assert_eq!(cluster.state.volume_count(), 1);
        let refused = check_volumes(&cluster.state, &mounting(&["data", "other"]), 1);
        assert_eq!(refused, Err(Error::TooManyVolumes { volume: "other".to_owned(), max_volumes: 1 }));
        assert_eq!(check_volumes(&cluster.state, &mounting(&["data"]), 1), Ok(()));
        assert_eq!(check_volumes(&cluster.state, &mounting(&["other"]), 2), Ok(()));
    }
}
