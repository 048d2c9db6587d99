//! PURE: what a batch becomes in the store.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use davit_core::id::Revision;
use davit_core::spec::TaskSpec;
use davit_proto::store_v1::{EventBlock, EventRecord};
use prost::Message as _;

use super::super::Error;
use super::super::records::{
    SpecKey, config_name_key, config_to_record, deployment_key, deployment_to_record, event_to_record, job_key,
    job_to_record, node_key, node_to_record, request_to_record, spec_to_bytes, task_key, task_to_record,
    volume_to_record,
};
use super::engine::{Table, Write};
use super::ledger::{Delta, EventSpecs, Head, Ledger, References};
use super::schema::{self, HEAD_KEY};
use super::volumes;
use crate::state::{Batch, Change, Object, Versions, VolumeChange};

/// Events that are stored as one record at most. One record each would cost the engine more than their tasks; and what is dropped
/// of events, record by record, leaves at most so many that count no more.
const EVENTS_PER_BLOCK: usize = 256;

/// All that is written for a batch, and what the ledger is after it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) writes: Vec<Write>,
    pub(super) delta: Delta,
}

/// Plans a batch on top of what is stored.
///
/// # Errors
/// When it does not follow on that.
pub(super) fn plan(ledger: &Ledger, batch: &Batch) -> Result<Plan, Error> {
    let mut last = ledger.revision();
    for change in &batch.changes {
        if change.event.revision != last.next() {
            return Err(Error::Gap { stored: last, got: change.event.revision });
        }
        last = change.event.revision;
    }
    let head = Head { revision: last, totals: batch.totals, ..ledger.head };
    let mut planner = Planner {
        ledger,
        writes: Vec::with_capacity(batch.changes.len() + batch.requests.len() + 2),
        head,
        references: References::new(),
        known: HashMap::new(),
        new_specs: BTreeMap::new(),
        event_specs: Vec::with_capacity(batch.changes.len()),
        event_blocks: Vec::new(),
    };
    planner.objects(&batch.changes);
    planner.contents(batch);
    planner.volumes(&batch.volumes);
    planner.compact(batch.compacted.unwrap_or_default());
    planner.events(&batch.changes);
    planner.requests(batch);
    planner.specs();
    planner.put(Table::Meta, HEAD_KEY, planner.head.to_record().encode_to_vec());
    let Planner { writes, head, references, event_specs, event_blocks, .. } = planner;
    Ok(Plan { writes, delta: Delta { head, references, event_specs, event_blocks } })
}

struct Planner<'a> {
    ledger: &'a Ledger,
    writes: Vec<Write>,
    head: Head,
    /// References of all specs that the batch touches.
    references: References,
    /// Keys of specs by where they are in memory, so that a spec which many tasks share is encoded once.
    known: HashMap<*const TaskSpec, SpecKey>,
    /// Specs of this batch, encoded; some of them are stored already.
    new_specs: BTreeMap<SpecKey, Vec<u8>>,
    event_specs: Vec<EventSpecs>,
    event_blocks: Vec<RangeInclusive<u64>>,
}

impl Planner<'_> {
    /// Writes each object once, however often the batch changes it.
    fn objects(&mut self, changes: &[Change]) {
        let mut tasks = BTreeMap::new();
        let mut nodes = BTreeMap::new();
        let mut deployments = BTreeMap::new();
        let mut jobs = BTreeMap::new();
        let mut configs = BTreeMap::new();
        for change in changes {
            match &change.versions {
                Versions::Task { before, after } => {
                    let Some(task) = after.as_ref().or(before.as_ref()) else { continue };
                    tasks.entry(task.task_id).or_insert((before.as_ref(), None)).1 = after.as_ref();
                }
                Versions::Node { before, after } => {
                    let Some(node) = after.as_ref().or(before.as_ref()) else { continue };
                    nodes.entry(node.node_id).or_insert((before.as_ref(), None)).1 = after.as_ref();
                }
                Versions::Deployment { before, after } => {
                    let Some(deployment) = after.as_ref().or(before.as_ref()) else { continue };
                    let entry = deployments.entry(deployment.deployment_id).or_insert((before.as_ref(), None));
                    entry.1 = after.as_ref();
                }
                Versions::Job { before, after } => {
                    let Some(job) = after.as_ref().or(before.as_ref()) else { continue };
                    jobs.entry(job.job_id).or_insert((before.as_ref(), None)).1 = after.as_ref();
                }
                Versions::Config { before, after } => {
                    let Some(config) = after.as_ref().or(before.as_ref()) else { continue };
                    configs.entry(&config.name).or_insert((before.as_ref(), None)).1 = after.as_ref();
                }
            }
        }
        for (task_id, (before, after)) in tasks {
            self.head.task_count = counted(self.head.task_count, before.is_some(), after.is_some());
            let key_before = before.map(|task| self.spec_key(&task.spec));
            let key_after = after.map(|task| self.spec_key(&task.spec));
            self.refer(key_after, key_before);
            let value = after.zip(key_after).map(|(task, key)| task_to_record(task, key).encode_to_vec());
            self.writes.push(Write { table: Table::Tasks, key: task_key(task_id).to_vec(), value });
        }
        for (node_id, (before, after)) in nodes {
            self.head.node_count = counted(self.head.node_count, before.is_some(), after.is_some());
            let value = after.map(|node| node_to_record(node).encode_to_vec());
            self.writes.push(Write { table: Table::Nodes, key: node_key(node_id).to_vec(), value });
        }
        for (deployment_id, (before, after)) in deployments {
            let count = &mut self.head.deployment_count;
            *count = counted(*count, before.is_some(), after.is_some());
            let keys_after = self.refer_all(
                after.into_iter().flat_map(|deployment| deployment.task_specs()),
                before.into_iter().flat_map(|deployment| deployment.task_specs()),
            );
            let value = after.map(|deployment| deployment_to_record(deployment, &keys_after).encode_to_vec());
            let key = schema::deployment_key(&deployment_key(deployment_id));
            self.writes.push(Write { table: Table::Meta, key, value });
        }
        for (job_id, (before, after)) in jobs {
            self.head.job_count = counted(self.head.job_count, before.is_some(), after.is_some());
            let keys_after = self.refer_all(
                after.into_iter().flat_map(|job| job.task_specs()),
                before.into_iter().flat_map(|job| job.task_specs()),
            );
            let value = after.map(|job| job_to_record(job, &keys_after).encode_to_vec());
            self.writes.push(Write { table: Table::Meta, key: schema::job_key(&job_key(job_id)), value });
        }
        for (name, (before, after)) in configs {
            self.head.config_count = counted(self.head.config_count, before.is_some(), after.is_some());
            let value = after.map(|config| config_to_record(config).encode_to_vec());
            let key = schema::config_key(&config_name_key(name));
            self.writes.push(Write { table: Table::Meta, key, value });
        }
    }

    /// Writes what configs and secrets hold that is new, and removes what none holds any more.
    fn contents(&mut self, batch: &Batch) {
        for (digest, content) in &batch.contents {
            let count = &mut self.head.content_count;
            *count = counted(*count, content.is_none(), content.is_some());
            let key = schema::content_key(digest.as_bytes());
            let value = content.as_ref().map(|content| content.reveal().to_vec());
            self.writes.push(Write { table: Table::Meta, key, value });
        }
    }

    /// Writes where each volume is at last, however often the batch changes it.
    fn volumes(&mut self, changes: &[VolumeChange]) {
        let mut volumes = BTreeMap::new();
        for change in changes {
            let Some(home) = change.after.as_ref().or(change.before.as_ref()) else { continue };
            volumes.entry(home.name.as_str()).or_insert((change.before.is_some(), None)).1 = change.after.as_ref();
        }
        for (name, (before, after)) in volumes {
            self.head.volume_count = counted(self.head.volume_count, before, after.is_some());
            let value = after.map(|home| volume_to_record(home).encode_to_vec());
            self.writes.push(Write { table: Table::Meta, key: volumes::key(name.as_bytes()), value });
        }
    }

    /// Writes events in blocks, but for those that are kept no more already.
    fn events(&mut self, changes: &[Change]) {
        let kept = changes.iter().filter(|change| change.event.revision > self.head.compacted);
        let kept: Vec<&Change> = kept.collect();
        for block in kept.chunks(EVENTS_PER_BLOCK) {
            let (Some(first), Some(last)) = (block.first(), block.last()) else { continue };
            let revisions = first.event.revision.0..=last.event.revision.0;
            let events = block.iter().map(|change| self.event(change)).collect();
            let value = EventBlock { events }.encode_to_vec();
            self.put(Table::Events, &revisions.start().to_be_bytes(), value);
            self.event_blocks.push(revisions);
        }
    }

    fn event(&mut self, change: &Change) -> EventRecord {
        let specs = match &change.event.object {
            Object::Task(task) => EventSpecs::One(self.spec_key(&task.spec)),
            Object::Node(_) | Object::Config(_) => EventSpecs::Many([].into()),
            Object::Deployment(deployment) => EventSpecs::Many(self.spec_keys(deployment.task_specs()).into()),
            Object::Job(job) => EventSpecs::Many(self.spec_keys(job.task_specs()).into()),
        };
        specs.keys().iter().for_each(|key| self.refer(Some(*key), None));
        let record = event_to_record(&change.event, specs.keys());
        self.event_specs.push(specs);
        record
    }

    /// Drops events up to a revision. Blocks of which none is left are removed.
    fn compact(&mut self, to: Revision) {
        let first = self.ledger.head.compacted.next().0;
        let to = to.min(self.head.revision);
        let dropped = to.0.saturating_sub(first.saturating_sub(1));
        let ledger = self.ledger;
        for specs in ledger.event_specs.iter().take(usize::try_from(dropped).unwrap_or(usize::MAX)) {
            specs.keys().iter().for_each(|key| self.refer(None, Some(*key)));
        }
        for block in ledger.event_blocks.iter().take_while(|block| *block.end() <= to.0) {
            self.remove(Table::Events, &block.start().to_be_bytes());
        }
        self.head.compacted = self.head.compacted.max(to);
    }

    /// Writes requests that are new and removes the oldest; what is both is never written.
    fn requests(&mut self, batch: &Batch) {
        let (stored, new) = (self.head.next_request, batch.requests.len() as u64);
        let first = self.head.first_request.saturating_add(batch.dropped_requests).min(stored.saturating_add(new));
        for number in self.head.first_request..first.min(stored) {
            self.remove(Table::Requests, &number.to_be_bytes());
        }
        for request in &batch.requests {
            let number = self.head.next_request;
            self.head.next_request += 1;
            if number >= first {
                self.put(Table::Requests, &number.to_be_bytes(), request_to_record(request).encode_to_vec());
            }
        }
        self.head.first_request = first;
    }

    /// Writes specs that are new and removes those to which nothing refers any more.
    fn specs(&mut self) {
        let mut touched: Vec<(SpecKey, u64)> = self.references.iter().map(|(key, count)| (*key, *count)).collect();
        touched.sort_unstable();
        for (key, count) in touched {
            let was_stored = self.ledger.references.contains_key(&key);
            match (was_stored, count > 0) {
                (false, true) => {
                    let value = self.new_specs.remove(&key).unwrap_or_default();
                    self.put(Table::Specs, key.as_bytes(), value);
                }
                (true, false) => self.remove(Table::Specs, key.as_bytes()),
                (true, true) | (false, false) => {}
            }
            self.head.spec_count = counted(self.head.spec_count, was_stored, count > 0);
        }
    }

    fn spec_key(&mut self, spec: &Arc<TaskSpec>) -> SpecKey {
        *self.known.entry(Arc::as_ptr(spec)).or_insert_with(|| {
            let bytes = spec_to_bytes(spec);
            let key = SpecKey::of(&bytes);
            self.new_specs.insert(key, bytes);
            key
        })
    }

    fn spec_keys<'s>(&mut self, specs: impl Iterator<Item = &'s Arc<TaskSpec>>) -> Vec<SpecKey> {
        specs.map(|spec| self.spec_key(spec)).collect()
    }

    /// Counts references to the specs that something has now instead of others. Answers the keys of those that it has.
    fn refer_all<'s>(
        &mut self,
        after: impl Iterator<Item = &'s Arc<TaskSpec>>,
        before: impl Iterator<Item = &'s Arc<TaskSpec>>,
    ) -> Vec<SpecKey> {
        let (keys_after, keys_before) = (self.spec_keys(after), self.spec_keys(before));
        keys_after.iter().for_each(|key| self.refer(Some(*key), None));
        keys_before.iter().for_each(|key| self.refer(None, Some(*key)));
        keys_after
    }

    /// Counts one more reference to one spec and one less to another.
    fn refer(&mut self, more: Option<SpecKey>, less: Option<SpecKey>) {
        let ledger = self.ledger;
        let stored = |key: &SpecKey| ledger.references.get(key).copied().unwrap_or(0);
        if let Some(key) = more {
            *self.references.entry(key).or_insert_with(|| stored(&key)) += 1;
        }
        if let Some(key) = less {
            let count = self.references.entry(key).or_insert_with(|| stored(&key));
            *count = count.saturating_sub(1);
        }
    }

    fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.writes.push(Write { table, key: key.to_vec(), value: Some(value) });
    }

    fn remove(&mut self, table: Table, key: &[u8]) {
        self.writes.push(Write { table, key: key.to_vec(), value: None });
    }
}

fn counted(count: u64, before: bool, after: bool) -> u64 {
    count.saturating_add(u64::from(after)).saturating_sub(u64::from(before))
}
