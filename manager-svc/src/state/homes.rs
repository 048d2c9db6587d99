//! What keeps tasks on one node: named volumes, each of which has one home, and groups, whose tasks are all on one node.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::id::NodeId;
use davit_core::node::{Node, NodeState};
use davit_core::placement::{Home, HomeNode, Keeper, Mark, Requirements};
use davit_core::resources::Resources;
use davit_core::spec::TaskSpec;
use davit_core::task::Task;
use davit_core::volume::VolumeHome;
use imbl::OrdMap;

use super::ClusterState;

/// Where things are that keep tasks on one node.
#[derive(Debug, Clone, Default)]
pub(super) struct Homes {
    /// Named volumes.
    volumes: OrdMap<String, Arc<VolumeHome>>,
    /// Grows whenever something that keeps tasks is elsewhere than before.
    pub(super) epoch: u64,
}

/// A volume's home before and after a change; `None`: it had, or has, none.
#[derive(Debug, Clone)]
pub struct VolumeChange {
    /// As it was.
    pub before: Option<Arc<VolumeHome>>,
    /// As it is.
    pub after: Option<Arc<VolumeHome>>,
}

impl ClusterState {
    /// Where a named volume is.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&Arc<VolumeHome>> {
        self.homes.volumes.get(name)
    }

    /// How many volumes are somewhere.
    #[must_use]
    pub fn volume_count(&self) -> usize {
        self.homes.volumes.len()
    }

    /// All volumes that are somewhere, by name, after one.
    pub fn volumes_after(&self, last: &str) -> impl Iterator<Item = &Arc<VolumeHome>> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.homes.volumes.range::<_, str>((Excluded(last), Unbounded)).map(|(_, home)| home)
    }

    /// What the node of a task must have, with what keeps it on one. A task that has its own node anyway is kept by nothing: each node
    /// has volumes of its own.
    #[must_use]
    pub fn placement_requirements_of(&self, task: &Task) -> Requirements {
        let mut requirements = self.requirements_of(&task.spec);
        if task.pinned_to().is_none() {
            self.add_homes(&mut requirements, &task.spec, Some(task));
        }
        requirements
    }

    /// Adds what keeps tasks of a spec on one node. `without`: as if this task were nowhere.
    pub(crate) fn add_homes(&self, requirements: &mut Requirements, spec: &TaskSpec, without: Option<&Task>) {
        let homes = &mut requirements.homes;
        for name in spec.volumes() {
            let node = self.volume(name).map(|home| self.home_node(home.node_id));
            homes.push(Home { keeper: Keeper::Volume(name.to_owned()), node });
        }
        homes.sort_unstable();
        homes.dedup();
        let Some(colocation) = &spec.placement.colocation else { return };
        // Data does not move: where that is, is where the group is.
        let of_volumes = homes.iter().find_map(|home| home.node.clone());
        let node = of_volumes.or_else(|| self.home_of_group(&colocation.group, without));
        requirements.group_reservation = if node.is_none() { colocation.reservation } else { Resources::ZERO };
        homes.push(Home { keeper: Keeper::Group(colocation.group.clone()), node });
    }

    /// Where the tasks of a group are, or are to come. Not on a node that they leave, or that is DOWN; of several the one that takes
    /// new tasks, and has most of them.
    fn home_of_group(&self, group: &str, without: Option<&Task>) -> Option<HomeNode> {
        let mark = Mark::of_group(group);
        let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (node_id, held) in self.carriers.of_mark(&mark, &self.specs) {
            *counts.entry(node_id).or_default() += held.tasks + held.claims;
        }
        if let Some(task) = without.filter(|task| task.spec.carries(&mark)) {
            let on_node = task.status.node_id.filter(|_| task.status.state.is_on_node());
            for node_id in on_node.into_iter().chain(task.claim.as_ref().map(|claim| claim.node_id)) {
                counts.entry(node_id).and_modify(|count| *count = count.saturating_sub(1));
            }
        }
        let stays = |node: &&Arc<Node>| node.state != NodeState::Down && node.drain.is_none();
        let there = counts.into_iter().filter(|(_, count)| *count > 0);
        let nodes = there.filter_map(|(node_id, count)| Some((self.node(node_id).filter(stays)?, count)));
        let takes_tasks = |node: &Node| node.state == NodeState::Ready && !node.cordoned;
        let best = nodes.max_by_key(|(node, count)| (takes_tasks(node), *count, std::cmp::Reverse(node.node_id)));
        best.map(|(node, _)| self.home_node(node.node_id))
    }

    /// Takes note of whether a change of a task has its group be elsewhere.
    pub(super) fn following_group<T>(&mut self, task: Option<&Task>, change: impl FnOnce(&mut Self) -> T) -> T {
        let Some(group) = task.and_then(|task| Some(task.spec.placement.colocation.as_ref()?.group.clone())) else {
            return change(self);
        };
        let before = self.home_of_group(&group, None);
        let changed = change(self);
        self.homes.epoch += u64::from(self.home_of_group(&group, None) != before);
        changed
    }

    /// Takes note of whether a change of a node may have groups that are on it be elsewhere, or anything be called otherwise.
    pub(super) fn note_home_node(&mut self, before: Option<&Node>, after: Option<&Node>) {
        let name = |node: Option<&Node>| node.map(|node| node.description.name.clone());
        let keeps = |node: &Node| (node.state, node.cordoned, node.drain.is_some());
        if before.map(keeps) == after.map(keeps) && name(before) == name(after) {
            return;
        }
        let Some(node) = before.or(after) else { return };
        let usage = self.usage(node.node_id);
        let mut there = usage.tasks.iter().chain(&usage.claims).filter_map(|task_id| self.tasks.get(task_id));
        let is_home = name(before) != name(after) || there.any(|task| task.spec.placement.colocation.is_some());
        self.homes.epoch += u64::from(is_home);
    }

    fn home_node(&self, node_id: NodeId) -> HomeNode {
        let node = self.node(node_id);
        let name = node.map_or_else(|| node_id.to_string(), |node| node.description.name.clone());
        HomeNode { node_id, name }
    }

    /// Why a task of a node can't go anywhere else; `None`: nothing keeps it there.
    #[must_use]
    pub fn volume_that_keeps<'t>(&self, task: &'t Task, node_id: NodeId) -> Option<&'t str> {
        let is_here = |name: &&str| self.volume(name).is_some_and(|home| home.node_id == node_id);
        task.spec.volumes().find(is_here).filter(|_| task.pinned_to().is_none())
    }

    /// Tasks on the home of a volume that mount it.
    pub fn users_of_volume<'a>(&'a self, home: &'a VolumeHome) -> impl Iterator<Item = &'a Arc<Task>> {
        let mounts = |task: &&Arc<Task>| task.spec.volumes().any(|name| name == home.name);
        self.tasks_on(home.node_id).filter(mounts).filter(|task| task.pinned_to().is_none())
    }

    /// Changes where a volume is.
    pub(super) fn put_volume(&mut self, name: &str, after: Option<Arc<VolumeHome>>) -> VolumeChange {
        self.homes.epoch += 1;
        let before = match &after {
            Some(home) => self.homes.volumes.insert(name.to_owned(), Arc::clone(home)),
            None => self.homes.volumes.remove(name),
        };
        VolumeChange { before, after }
    }
}
