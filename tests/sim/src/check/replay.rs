//! Both sides of the truth at each moment: what engines run, and what the manager has made durable by then.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use manager_svc::state::Batch;

use crate::history::{Entry, Event};
use crate::model::Model;
use crate::net::Host;

/// One moment, right after something happened.
pub(super) struct Moment<'a> {
    /// Since the begin of the run.
    pub(super) at: Duration,
    /// What happened.
    pub(super) event: &'a Event,
    /// The containers that run, on all engines.
    pub(super) running: &'a [(Host, AttemptKey)],
    /// The cluster as it was durable before.
    pub(super) before: &'a Model,
    /// The cluster as it is durable.
    pub(super) durable: &'a Model,
}

/// Goes through all that happened to engines and to the manager's disk, in its order.
pub(super) fn replay(entries: &[Entry], journal: &[Arc<Batch>], mut look: impl FnMut(&Moment<'_>)) {
    let (mut running, mut before) = (Vec::new(), Model::default());
    let mut durable = Model::default();
    let last_of = |batch: &Batch| batch.changes.last().map_or(0, |change| change.event.revision.0);
    let mut left = journal.iter().peekable();
    for Entry { at, event } in entries {
        match event {
            Event::Started { host, key } | Event::Restarted { host, key } => running.push((*host, *key)),
            Event::Ended { host, key, .. } => running.retain(|one| *one != (*host, *key)),
            Event::Synced { revision } => {
                before.clone_from(&durable);
                while let Some(batch) = left.next_if(|batch| last_of(batch) <= *revision) {
                    durable.apply(batch);
                }
            }
            _ => continue,
        }
        look(&Moment { at: *at, event, running: &running, before: &before, durable: &durable });
    }
}
