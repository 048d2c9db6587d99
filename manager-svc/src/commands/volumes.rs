//! What users do with named volumes: have it forgotten where one is.

use super::Error;
use crate::state::Draft;

/// Forgets where a volume is, so that the next task that mounts it goes anywhere. What is on the node stays there.
///
/// # Errors
/// When it is nowhere, or tasks on its node mount it.
pub fn delete_volume(draft: &mut Draft, name: &str) -> Result<(), Error> {
    let state = draft.state();
    // It comes from outside and may be of any length.
    let home = state.volume(name).ok_or_else(|| Error::VolumeNotFound { volume: name.chars().take(64).collect() })?;
    let tasks = state.users_of_volume(home).count();
    if tasks > 0 {
        let node = state.node(home.node_id).map(|node| node.description.name.clone()).unwrap_or_default();
        return Err(Error::VolumeIsInUse { volume: name.to_owned(), node, tasks });
    }
    draft.forget_volume(name);
    Ok(())
}
