//! What decides on a task's node, beside its resources and constraints.

use std::ops::RangeInclusive;

use crate::placement::{Affinity, Mark, Platform, SpreadOver};
use crate::resources::Resources;

/// The priorities that a task may have.
pub const PRIORITIES: RangeInclusive<i32> = -1000..=1000;

/// What decides on a task's node, beside its resources and constraints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlacementPolicy {
    /// Which algorithm scores nodes; empty for the cluster's default.
    pub algorithm: String,
    /// What kind of machine it must be.
    pub platform: Platform,
    /// How many tasks of the same name one node may hold; `None` for any number, 1 for distinct hosts.
    pub max_per_node: Option<u32>,
    /// For each of these the node must hold a task that carries it.
    pub task_affinities: Vec<Mark>,
    /// The node must hold no task that carries one of these, and none comes while this task is there.
    pub task_anti_affinities: Vec<Mark>,
    /// Nodes that are liked or disliked.
    pub affinities: Vec<Affinity>,
    /// What tasks of the same name are spread over.
    pub spread: Vec<SpreadOver>,
    /// Higher is placed first. One of [`PRIORITIES`].
    pub priority: i32,
    /// Whether tasks of lower priority may be stopped where nothing fits.
    pub may_preempt: bool,
    /// The group whose tasks are all on one node. Boxed, as most tasks have none.
    pub colocation: Option<Box<Colocation>>,
}

/// A group of tasks, of whatever specs, that are all on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Colocation {
    /// The group's name.
    pub group: String,
    /// What all of its tasks together set aside: the first goes where that fits.
    pub reservation: Resources,
    /// Named volumes of the group: where these are is where all of it is.
    pub volumes: Vec<String>,
}
