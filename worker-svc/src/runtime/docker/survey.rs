//! Looking at all containers of a cluster, and removing those that nobody looks after.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use davit_core::id::AttemptKey;

use super::containers::ended;
use super::error::{status, unavailable};
use super::labels::Labels;
use super::{DockerRuntime, QUICK_TIME, in_time, labels, networks, remove, timed};
use crate::runtime::{Error, Sighting, Survey};

impl DockerRuntime {
    pub(super) async fn look_around(&self, since: Option<u64>) -> Result<Survey, Error> {
        let engine = self.engine().await?;
        let sweeps = self.files.wants_sweep();
        let since = since.filter(|_| !sweeps);
        let changed = since.and_then(|since| self.events(engine).changed_since(since));
        let mut filter = labels::cluster_filter(&self.owner);
        match &changed {
            Some(changed) if changed.is_empty() => return Ok(Survey { seen: Vec::new(), of: Some(BTreeSet::new()) }),
            Some(changed) => drop(filter.insert("id".to_owned(), changed.iter().cloned().collect())),
            None => {}
        }
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        let listing =
            async { engine.list_containers(Some(options)).await.map_err(|error| unavailable("list", &error)) };
        let found = in_time("list", QUICK_TIME, listing).await?;
        let seen: Vec<Sighting> = found.iter().filter_map(sighting).collect();
        if sweeps {
            let own = seen.iter().filter(|sighting| sighting.node_id == Some(self.owner.node_id));
            self.files.sweep(own.filter_map(|sighting| sighting.key).collect()).await;
        }
        Ok(Survey { seen, of: changed })
    }

    pub(super) async fn remove_seen(&self, sighting: &Sighting, grace: Duration) -> Result<bool, Error> {
        let engine = self.engine().await?;
        let inspecting = async {
            match timed("inspect", engine.inspect_container(&sighting.id, None::<InspectContainerOptions>)).await {
                Ok(inspected) => Ok(Some(inspected)),
                Err(error) if status(&error) == Some(404) => Ok(None),
                Err(error) => Err(unavailable("inspect", &error)),
            }
        };
        let Some(inspected) = in_time("inspect", QUICK_TIME, inspecting).await? else { return Ok(false) };
        let config = inspected.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        // Ids are never used again and labels never change: this only guards against an engine of another kind.
        if !says(&self.owner.cluster, &labels, sighting) {
            return Ok(false);
        }
        // Signals don't reach a paused one; its removal does.
        let state = inspected.state.unwrap_or_default();
        if state.running == Some(true) && state.paused != Some(true) {
            let signal = config.stop_signal.filter(|signal| !signal.is_empty());
            let signal = signal.as_deref().unwrap_or("SIGTERM");
            // Those who remove take turns of their own.
            self.end(engine, &sighting.id, (signal, grace), None, |_, _| ended(engine, &sighting.id)).await?;
        }
        let removed = match remove(engine, &sighting.id).await {
            Ok(()) => true,
            // Another worker on this engine was told the same.
            Err(error) if matches!(status(&error), Some(404 | 409)) => false,
            Err(error) => return Err(unavailable("remove", &error)),
        };
        self.leave_network_of(engine, sighting, &labels).await;
        // A copy made by hand bears the labels too, and its original stays under guard.
        let own = sighting.key.filter(|_| sighting.is_instance && sighting.node_id == Some(self.owner.node_id));
        if let Some((guard, key)) = self.guard.as_ref().zip(own) {
            guard.forget(key);
        }
        if let Some((node_id, key)) = sighting.node_id.zip(sighting.key).filter(|_| sighting.is_instance) {
            self.files.take_away_of(node_id, key).await?;
        }
        Ok(removed)
    }

    /// Of what is another node's only the last container's removal can tell that its network is of no use any more: the engine keeps it
    /// while anything runs in it.
    async fn leave_network_of(&self, engine: &Docker, sighting: &Sighting, labels: &HashMap<String, String>) {
        match (sighting.key, labels.get(labels::NETWORK)) {
            (Some(key), Some(_)) if sighting.node_id == Some(self.owner.node_id) => {
                if sighting.is_instance {
                    self.networks.leave(engine, key).await;
                }
            }
            (_, Some(network)) if networks::is_of(sighting.node_id, network) => {
                if let Err(error) = networks::remove(engine, network).await {
                    tracing::debug!(network, %error, "the network of a container that nobody looked after stays");
                }
            }
            (_, Some(_) | None) => {}
        }
    }
}

/// Whether the engine's list names a container as the instance of this attempt.
pub(super) fn is_named(summary: &ContainerSummary, key: AttemptKey) -> bool {
    let name = format!("/{}", key.container_name());
    summary.names.iter().flatten().any(|named| *named == name)
}

pub(super) fn sighting(summary: &ContainerSummary) -> Option<Sighting> {
    let labels = Labels::of(summary.labels.as_ref()?);
    let ended = matches!(
        summary.state,
        Some(
            ContainerSummaryStateEnum::CREATED
                | ContainerSummaryStateEnum::EXITED
                | ContainerSummaryStateEnum::REMOVING
                | ContainerSummaryStateEnum::DEAD
        )
    );
    Some(Sighting {
        id: summary.id.clone()?,
        cluster_id: labels.cluster_id,
        node_id: labels.node_id,
        key: labels.key,
        is_instance: labels.key.is_some_and(|key| is_named(summary, key)),
        running: !ended,
    })
}

fn says(cluster: &str, labels: &HashMap<String, String>, sighting: &Sighting) -> bool {
    let Sighting { cluster_id, node_id, key, .. } = *sighting;
    Labels::of(labels) == Labels { cluster: Some(cluster), cluster_id, node_id, key }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_copy_of_an_instance_is_told_from_it_by_its_name() {
        let key = AttemptKey { task_id: TaskId(Uuid::from_u128(7)), attempt: Attempt(2) };
        let labels = HashMap::from([
            (labels::CLUSTER.to_owned(), "c".to_owned()),
            (labels::TASK.to_owned(), key.task_id.to_string()),
            (labels::ATTEMPT.to_owned(), "2".to_owned()),
        ]);
        let summary = |name: &str| ContainerSummary {
            id: Some("a".to_owned()),
            names: Some(vec![format!("/{name}")]),
            labels: Some(labels.clone()),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            ..ContainerSummary::default()
        };
        let (real, copy) = (sighting(&summary(&key.container_name())).unwrap(), sighting(&summary("copy")).unwrap());
        assert!(real.is_instance && !copy.is_instance);
        assert_eq!((copy.key, copy.running), (Some(key), true));
        assert!(says("c", &labels, &copy) && !says("d", &labels, &copy));
    }
}
