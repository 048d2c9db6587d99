//! The networks in which containers of one node find each other by name: made before the first container that is to be in one, removed
//! after the last.
//!
//! A network is the node's own: its name holds the node's id, and its labels say whose it is. The engine allows several networks of one
//! name, so that one after the other is looked for and made here. What is known of them is made anew of the containers and networks that
//! are there when a worker starts; until then none is removed.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{EndpointSettings, Network, NetworkCreateRequest, NetworkingConfig};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use davit_core::id::{AttemptKey, NodeId};
use davit_core::spec::ContainerNetwork;
use tokio::sync::Mutex;

use super::error::{refused, status, unavailable};
use super::{QUICK_TIME, in_time, labels, timed};
use crate::runtime::{Error, ErrorKind, Owner};

/// How long networks that nobody uses may hold up a check of the engine. One whose removal was cut short is tried again.
const SWEEP_TIME: Duration = Duration::from_secs(1);

/// A network's name at the engine.
pub(super) fn engine_name(owner: &Owner, network: &ContainerNetwork) -> String {
    format!("davit-{}-{}", owner.node_id, network.name)
}

/// Whether it is the name of a network of this node.
pub(super) fn is_of(node_id: Option<NodeId>, engine_name: &str) -> bool {
    node_id.is_some_and(|node_id| engine_name.starts_with(&format!("davit-{node_id}-")))
}

/// How a container is in its network.
pub(super) fn networking(owner: &Owner, network: &ContainerNetwork) -> NetworkingConfig {
    let aliases = Some(network.aliases.clone());
    let endpoint = EndpointSettings { aliases, ..EndpointSettings::default() };
    NetworkingConfig { endpoints_config: Some(HashMap::from([(engine_name(owner, network), endpoint)])) }
}

/// The networks of one owner's containers.
#[derive(Debug, Default)]
pub(super) struct Networks {
    // Held across the engine's answers: of two who make the same network at once each would get one of its own.
    known: Mutex<Known>,
}

/// Networks are known by their names at the engine.
#[derive(Debug, Default)]
struct Known {
    /// The network of each container that has one, from before it is created until it is removed.
    of: BTreeMap<AttemptKey, String>,
    /// Those that are there, with the engine's ids.
    there: BTreeMap<String, String>,
    /// All that was there when this process began is known.
    is_whole: bool,
}

impl Known {
    fn unused(&self) -> Vec<(String, String)> {
        let used: BTreeSet<&String> = self.of.values().collect();
        let unused = self.there.iter().filter(|(name, _)| self.is_whole && !used.contains(name));
        unused.map(|(name, id)| (name.clone(), id.clone())).collect()
    }
}

impl Networks {
    /// Sees to it that the network is there for a container that is about to be created. Asks the engine only if it is not known to be.
    pub(super) async fn join(
        &self,
        engine: &Docker,
        owner: &Owner,
        key: AttemptKey,
        network: &ContainerNetwork,
    ) -> Result<(), Error> {
        let name = engine_name(owner, network);
        let mut known = self.known.lock().await;
        known.of.insert(key, name.clone());
        if let Entry::Vacant(vacant) = known.there.entry(name) {
            let id = ensure(engine, owner, vacant.key()).await?;
            vacant.insert(id);
        }
        Ok(())
    }

    /// Makes the network of a container anew if somebody removed it: the engine does not count those that never started.
    /// `false`: it has none.
    pub(super) async fn rejoin(&self, engine: &Docker, owner: &Owner, key: AttemptKey) -> Result<bool, Error> {
        let mut known = self.known.lock().await;
        let Some(name) = known.of.get(&key).cloned() else { return Ok(false) };
        known.there.remove(&name);
        let id = ensure(engine, owner, &name).await?;
        known.there.insert(name, id);
        Ok(true)
    }

    /// A container is removed; its network too if it was the last one there.
    pub(super) async fn leave(&self, engine: &Docker, key: AttemptKey) {
        let mut known = self.known.lock().await;
        if known.of.remove(&key).is_some() {
            remove_unused(engine, &mut known).await;
        }
    }

    /// Removes what could not be removed before, if that is quick and nobody is at it: who checks an engine is not to wait for a network.
    /// Costs nothing where nothing is left over.
    pub(super) async fn sweep(&self, engine: &Docker) {
        if let Ok(mut known) = self.known.try_lock() {
            let _ = tokio::time::timeout(SWEEP_TIME, remove_unused(engine, &mut known)).await;
        }
    }

    /// Learns once which networks there are, and which containers are in them: what a worker before this one has left behind goes.
    pub(super) async fn find(
        &self,
        engine: &Docker,
        owner: &Owner,
        containers: impl Iterator<Item = (AttemptKey, String)> + Send,
    ) -> Result<(), Error> {
        let mut known = self.known.lock().await;
        if known.is_whole {
            return Ok(());
        }
        for network in list(engine, owner).await? {
            if let (Some(name), Some(id)) = (network.name, network.id) {
                known.there.entry(name).or_insert(id);
            }
        }
        for (key, name) in containers {
            known.of.entry(key).or_insert(name);
        }
        known.is_whole = true;
        remove_unused(engine, &mut known).await;
        Ok(())
    }
}

async fn remove_unused(engine: &Docker, known: &mut Known) {
    for (name, id) in known.unused() {
        match remove(engine, &id).await {
            Ok(()) => drop(known.there.remove(&name)),
            // Something of others is in it, or the engine does not answer now: it is tried again.
            Err(error) => {
                tracing::debug!(network = name, %error, "a network that no task uses stays for now");
                if error.kind() == ErrorKind::Unavailable {
                    return;
                }
            }
        }
    }
}

/// Removes a network by its name or id; one that is gone is no error.
pub(super) async fn remove(engine: &Docker, name_or_id: &str) -> Result<(), Error> {
    let removing = async {
        match timed("remove_network", engine.remove_network(name_or_id)).await {
            Ok(()) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(unavailable("remove a network", &error)),
        }
    };
    in_time("remove a network", QUICK_TIME, removing).await
}

/// The engine's id of the network of this name, which is made if it is not there.
async fn ensure(engine: &Docker, owner: &Owner, name: &str) -> Result<String, Error> {
    let found = list(engine, owner).await?.into_iter().find(|network| network.name.as_deref() == Some(name));
    if let Some(id) = found.and_then(|network| network.id) {
        return Ok(id);
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(labels::of_owner(owner)),
        ..NetworkCreateRequest::default()
    };
    let creating = async {
        let created = timed("create_network", engine.create_network(request)).await;
        // What the engine has against it may pass: it has run out of addresses, say.
        created.map(|created| created.id).map_err(|error| match refused("create a network", &error) {
            Error::Rejected { action, message } => Error::Unavailable { action, reason: message },
            other => other,
        })
    };
    in_time("create a network", QUICK_TIME, creating).await
}

/// The owner's networks.
async fn list(engine: &Docker, owner: &Owner) -> Result<Vec<Network>, Error> {
    let options = ListNetworksOptionsBuilder::new().filters(&labels::filter(owner)).build();
    let listing = async {
        let listed = timed("list_networks", engine.list_networks(Some(options))).await;
        listed.map_err(|error| unavailable("list networks", &error))
    };
    in_time("list networks", QUICK_TIME, listing).await
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_network_is_unused_when_no_container_is_left_and_all_are_known() {
        let key = |number| AttemptKey { task_id: TaskId(Uuid::from_u128(number)), attempt: Attempt::FIRST };
        let mut known = Known { is_whole: true, ..Known::default() };
        known.there = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        known.of = BTreeMap::from([(key(1), "a".to_owned()), (key(2), "a".to_owned())]);
        assert_eq!(known.unused(), [("b".to_owned(), "2".to_owned())]);
        known.of.clear();
        assert_eq!(known.unused().len(), 2);
        known.is_whole = false;
        assert_eq!(known.unused(), []);
    }
}
