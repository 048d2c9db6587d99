//! What has to be known of what is stored to plan the next batch.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use davit_core::id::Revision;
use davit_proto::store_v1;

use super::super::records::{SpecKey, totals_to_record};
use crate::state::Totals;

/// How many tasks and kept events refer to a spec.
pub(super) type References = HashMap<SpecKey, u64>;

/// The specs of which one event tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventSpecs {
    /// That of a task.
    One(SpecKey),
    /// Those of a deployment's versions, or that a job keeps; none of a node.
    Many(Box<[SpecKey]>),
}

impl EventSpecs {
    pub(super) fn keys(&self) -> &[SpecKey] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Many(keys) => keys,
        }
    }
}

/// What the store holds, in short. Changes only when a batch is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) head: Head,
    pub(super) references: References,
    /// The specs of which each kept event tells, oldest event first.
    pub(super) event_specs: VecDeque<EventSpecs>,
    /// The first and last revision of each block of events that is stored, oldest first. The oldest may hold some that are kept no
    /// more.
    pub(super) event_blocks: VecDeque<RangeInclusive<u64>>,
}

/// The head record, as the ledger counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) first_request: u64,
    pub(super) next_request: u64,
    pub(super) task_count: u64,
    pub(super) node_count: u64,
    pub(super) spec_count: u64,
    pub(super) deployment_count: u64,
    pub(super) job_count: u64,
    pub(super) config_count: u64,
    pub(super) content_count: u64,
    pub(super) volume_count: u64,
    pub(super) totals: Totals,
}

/// How a batch changes the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) head: Head,
    /// References of the specs that the batch touches, as they are after it. 0: the spec is gone.
    pub(super) references: References,
    /// The specs of new events that are kept.
    pub(super) event_specs: Vec<EventSpecs>,
    /// The first and last revision of each new block of them.
    pub(super) event_blocks: Vec<RangeInclusive<u64>>,
}

impl Ledger {
    pub(super) fn revision(&self) -> Revision {
        self.head.revision
    }

    /// Takes in a batch that is durable.
    pub(super) fn apply(&mut self, delta: Delta) {
        for (key, count) in delta.references {
            if count == 0 {
                self.references.remove(&key);
            } else {
                self.references.insert(key, count);
            }
        }
        self.event_specs.extend(delta.event_specs);
        self.event_blocks.extend(delta.event_blocks);
        while self.event_blocks.front().is_some_and(|block| *block.end() <= delta.head.compacted.0) {
            self.event_blocks.pop_front();
        }
        let kept = delta.head.revision.0.saturating_sub(delta.head.compacted.0);
        while self.event_specs.len() as u64 > kept {
            self.event_specs.pop_front();
        }
        self.head = delta.head;
    }
}

impl Head {
    pub(super) fn to_record(self) -> store_v1::StoreHead {
        let Self {
            revision,
            compacted,
            first_request,
            next_request,
            task_count,
            node_count,
            spec_count,
            deployment_count,
            job_count,
            config_count,
            content_count,
            volume_count,
            totals,
        } = self;
        store_v1::StoreHead {
            revision: revision.0,
            compacted_revision: compacted.0,
            first_request,
            next_request,
            task_count,
            node_count,
            spec_count,
            deployment_count,
            job_count,
            config_count,
            content_count,
            volume_count,
            totals: Some(totals_to_record(totals)),
        }
    }
}
