//! Reads all of a store and checks that it belongs together.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc;

use davit_core::deployment::{Deployment, Version};
use davit_core::file::{Config, FileContent, FileDigest};
use davit_core::id::{DeploymentId, JobId, Revision, TaskId};
use davit_core::job::{Job, JobSpec};
use davit_core::node::Node;
use davit_core::spec::TaskSpec;
use davit_core::task::Task;
use davit_core::volume::VolumeHome;
use davit_proto::store_v1;
use parking_lot::Mutex;
use prost::Message as _;

use super::super::Snapshot;
use super::super::records::{
    Malformed, SpecKey, SpecSource, config_from_record, config_name_key, deployment_from_record, deployment_key,
    event_from_record, job_from_record, job_key, node_from_record, node_key, request_from_record, spec_from_bytes,
    task_from_record, task_key, totals_from_record, volume_from_record,
};
use super::engine::{Engine, Table};
use super::ledger::{EventSpecs, Head, Ledger, References};
use super::schema::{self, HEAD_KEY};
use super::volumes;
use crate::state::{Event, KeyedSpec, Object, RequestRecord};

/// Records that a thread decodes in one go.
const CHUNK: usize = 4096;

type Specs = HashMap<SpecKey, KeyedSpec>;

impl SpecSource for Specs {
    fn spec(&self, key: SpecKey) -> Option<Arc<TaskSpec>> {
        self.get(&key).map(|known| Arc::clone(known.spec()))
    }
}

/// Everything that is stored. Says what is wrong if something is.
pub(super) fn load(engine: &Engine) -> Result<(Snapshot, Ledger), String> {
    let head = load_head(engine)?;
    let specs = load_specs(engine, &head)?;
    let mut references = References::new();
    let tasks = load_tasks(engine, &head, &specs, &mut references)?;
    let nodes = load_nodes(engine, &head)?;
    let deployments = load_deployments(engine, &head, &specs, &mut references)?;
    let jobs = load_jobs(engine, &head, &specs, &mut references)?;
    let configs = load_configs(engine, &head)?;
    let contents = load_contents(engine, &head, &configs)?;
    let volumes = load_volumes(engine, &head)?;
    let LoadedEvents { events, specs: event_specs, blocks } = load_events(engine, &head, &specs, &mut references)?;
    let events = share_newest(events, &tasks, &deployments, &jobs, &configs)?;
    let requests = load_requests(engine, &head)?;
    if let Some(unused) = specs.keys().find(|key| !references.contains_key(*key)) {
        return Err(format!("nothing refers to spec {unused:?}"));
    }
    let ledger = Ledger { head, references, event_specs: event_specs.into(), event_blocks: blocks.into() };
    let specs = specs.into_values().collect();
    let (revision, totals) = (head.revision, head.totals);
    let snapshot = Snapshot {
        revision,
        tasks,
        nodes,
        deployments,
        jobs,
        configs,
        contents,
        volumes,
        events,
        requests,
        totals,
        specs,
    };
    Ok((snapshot, ledger))
}

fn load_head(engine: &Engine) -> Result<Head, String> {
    let unreadable = |problem: String| format!("its head can't be read: {problem}");
    let bytes = engine.get(Table::Meta, HEAD_KEY).map_err(|problem| unreadable(problem.to_string()))?;
    let record = match bytes {
        Some(bytes) => {
            store_v1::StoreHead::decode(bytes.as_slice()).map_err(|problem| unreadable(problem.to_string()))?
        }
        None => store_v1::StoreHead::default(),
    };
    head_from_record(&record)
}

pub(super) fn head_from_record(record: &store_v1::StoreHead) -> Result<Head, String> {
    let head = Head {
        revision: Revision(record.revision),
        compacted: Revision(record.compacted_revision),
        first_request: record.first_request,
        next_request: record.next_request,
        task_count: record.task_count,
        node_count: record.node_count,
        spec_count: record.spec_count,
        deployment_count: record.deployment_count,
        job_count: record.job_count,
        config_count: record.config_count,
        content_count: record.content_count,
        volume_count: record.volume_count,
        totals: totals_from_record(record.totals.unwrap_or_default()),
    };
    if head.compacted > head.revision || head.first_request > head.next_request {
        return Err("its head contradicts itself".to_owned());
    }
    Ok(head)
}

fn load_specs(engine: &Engine, head: &Head) -> Result<Specs, String> {
    let specs = decode_all(engine, Table::Specs, |key, value| {
        let key = SpecKey::from_bytes(key)?;
        let spec = Arc::new(spec_from_bytes(key, value)?);
        Ok((key, KeyedSpec::stored(spec, key, value.len() as u64)))
    })?;
    check_count("specs", specs.len(), head.spec_count)?;
    Ok(specs.into_iter().collect())
}

fn load_tasks(
    engine: &Engine,
    head: &Head,
    specs: &Specs,
    references: &mut References,
) -> Result<Vec<Arc<Task>>, String> {
    let tasks = decode_all(engine, Table::Tasks, |key, value| {
        let (task, spec_key) = task_from_record(store_v1::TaskRecord::decode(value)?, specs)?;
        check_record(key == task_key(task.task_id), task.revision, head)?;
        Ok((Arc::new(task), spec_key))
    })?;
    check_count("tasks", tasks.len(), head.task_count)?;
    Ok(tasks
        .into_iter()
        .map(|(task, spec_key)| {
            *references.entry(spec_key).or_default() += 1;
            task
        })
        .collect())
}

fn load_nodes(engine: &Engine, head: &Head) -> Result<Vec<Arc<Node>>, String> {
    let nodes = decode_all(engine, Table::Nodes, |key, value| {
        let node = node_from_record(store_v1::NodeRecord::decode(value)?)?;
        check_record(key == node_key(node.node_id), node.revision, head)?;
        Ok(Arc::new(node))
    })?;
    check_count("nodes", nodes.len(), head.node_count)?;
    Ok(nodes)
}

fn load_deployments(
    engine: &Engine,
    head: &Head,
    specs: &Specs,
    references: &mut References,
) -> Result<Vec<Arc<Deployment>>, String> {
    let records = engine.iter_prefix(Table::Meta, schema::deployment_prefix());
    let read = decode(records, Table::Meta, |key, value| {
        let (deployment, spec_keys) = deployment_from_record(store_v1::DeploymentRecord::decode(value)?, specs)?;
        let own_key = schema::deployment_key(&deployment_key(deployment.deployment_id));
        check_record(key == own_key, deployment.revision, head)?;
        Ok((Arc::new(deployment), spec_keys))
    })?;
    check_count("deployments", read.len(), head.deployment_count)?;
    let refer = |(deployment, spec_keys): (Arc<Deployment>, Vec<SpecKey>)| {
        spec_keys.into_iter().for_each(|key| *references.entry(key).or_default() += 1);
        deployment
    };
    Ok(read.into_iter().map(refer).collect())
}

fn load_jobs(
    engine: &Engine,
    head: &Head,
    specs: &Specs,
    references: &mut References,
) -> Result<Vec<Arc<Job>>, String> {
    let records = engine.iter_prefix(Table::Meta, schema::job_prefix());
    let read = decode(records, Table::Meta, |key, value| {
        let (job, spec_keys) = job_from_record(store_v1::JobRecord::decode(value)?, specs)?;
        check_record(key == schema::job_key(&job_key(job.job_id)), job.revision, head)?;
        Ok((Arc::new(job), spec_keys))
    })?;
    check_count("jobs", read.len(), head.job_count)?;
    let refer = |(job, spec_keys): (Arc<Job>, Vec<SpecKey>)| {
        spec_keys.into_iter().for_each(|key| *references.entry(key).or_default() += 1);
        job
    };
    Ok(read.into_iter().map(refer).collect())
}

fn load_configs(engine: &Engine, head: &Head) -> Result<Vec<Arc<Config>>, String> {
    let records = engine.iter_prefix(Table::Meta, schema::config_prefix());
    let read = decode(records, Table::Meta, |key, value| {
        let config = config_from_record(store_v1::ConfigRecord::decode(value)?)?;
        check_record(key == schema::config_key(&config_name_key(&config.name)), config.revision, head)?;
        Ok(Arc::new(config))
    })?;
    check_count("configs", read.len(), head.config_count)?;
    Ok(read)
}

/// What the versions of configs and secrets hold: all of it, and nothing else.
fn load_contents(engine: &Engine, head: &Head, configs: &[Arc<Config>]) -> Result<Vec<FileContent>, String> {
    let records = engine.iter_prefix(Table::Meta, schema::content_prefix());
    let read = decode(records, Table::Meta, |key, value| {
        let content = FileContent::new(value);
        if key != schema::content_key(content.digest().as_bytes()) {
            return Err(Malformed("its bytes are not those of its key".to_owned()));
        }
        Ok(content)
    })?;
    check_count("contents", read.len(), head.content_count)?;
    let held: BTreeSet<FileDigest> =
        configs.iter().flat_map(|config| &config.versions).map(|version| version.digest).collect();
    let stored: BTreeSet<FileDigest> = read.iter().map(FileContent::digest).collect();
    match held.symmetric_difference(&stored).next() {
        None => Ok(read),
        Some(digest) if stored.contains(digest) => Err(format!("no config or secret holds content {digest}")),
        Some(digest) => Err(format!("content {digest} is missing")),
    }
}

fn load_volumes(engine: &Engine, head: &Head) -> Result<Vec<Arc<VolumeHome>>, String> {
    let records = engine.iter_prefix(Table::Meta, volumes::prefix());
    let volumes = decode(records, Table::Meta, |key, value| {
        let home = volume_from_record(store_v1::VolumeRecord::decode(value)?)?;
        check_record(key == volumes::key(home.name.as_bytes()), home.revision, head)?;
        Ok(Arc::new(home))
    })?;
    check_count("volumes", volumes.len(), head.volume_count)?;
    Ok(volumes)
}

/// Events that are kept, with their specs, and the revisions of the blocks that hold them.
#[derive(Default)]
struct LoadedEvents {
    events: Vec<Event>,
    specs: Vec<EventSpecs>,
    blocks: Vec<RangeInclusive<u64>>,
}

fn load_events(
    engine: &Engine,
    head: &Head,
    specs: &Specs,
    references: &mut References,
) -> Result<LoadedEvents, String> {
    let blocks = decode_all(engine, Table::Events, |key, value| {
        let records = store_v1::EventBlock::decode(value)?.events;
        let (first, last) = match (records.first(), records.last()) {
            (Some(first), Some(last)) => (first.revision, last.revision),
            _ => return Err(Malformed("it holds no event".to_owned())),
        };
        check_record(key == first.to_be_bytes(), Revision(last), head)?;
        // What is kept no more may be about specs that are gone.
        let kept = records.into_iter().filter(|record| record.revision > head.compacted.0);
        let events: Vec<_> = kept.map(|record| event_from_record(record, specs)).collect::<Result<_, _>>()?;
        Ok((first..=last, events))
    })?;
    let mut loaded = LoadedEvents::default();
    let mut last = head.compacted;
    for (block, events) in blocks {
        loaded.blocks.push(block);
        for (event, spec_keys) in events {
            if event.revision != last.next() {
                return Err(format!("the event of revision {} is missing", last.next()));
            }
            last = event.revision;
            spec_keys.iter().for_each(|key| *references.entry(*key).or_default() += 1);
            loaded.events.push(event);
            loaded.specs.push(match spec_keys.as_slice() {
                [key] => EventSpecs::One(*key),
                _ => EventSpecs::Many(spec_keys.into()),
            });
        }
    }
    if last != head.revision {
        return Err(format!("the event of revision {} is missing", last.next()));
    }
    Ok(loaded)
}

/// Checks that tasks, deployments, jobs and configs are as their newest events tell, and lets them be one in memory.
fn share_newest(
    events: Vec<Event>,
    tasks: &[Arc<Task>],
    deployments: &[Arc<Deployment>],
    jobs: &[Arc<Job>],
    configs: &[Arc<Config>],
) -> Result<Vec<Arc<Event>>, String> {
    // All by key, so in order of their ids.
    let stored = |task_id: TaskId| tasks.binary_search_by_key(&task_id, |task| task.task_id).ok().map(|at| &tasks[at]);
    let stored_deployment = |id: DeploymentId| {
        let at = deployments.binary_search_by_key(&id, |deployment| deployment.deployment_id);
        at.ok().map(|at| &deployments[at])
    };
    let mut versions = HashMap::new();
    for deployment in deployments {
        let of = deployment.versions.iter();
        versions.extend(of.map(|version| ((deployment.deployment_id, version.number), Arc::clone(version))));
    }
    let mut job_specs = HashMap::new();
    for job in jobs {
        let of_runs = job.runs.iter().filter_map(|run| run.spec.as_ref());
        job_specs.insert(job.job_id, [&job.spec].into_iter().chain(of_runs).cloned().collect());
    }
    let mut shared = Vec::with_capacity(events.len());
    for mut event in events {
        if let Object::Task(task) = &mut event.object
            && let Some(stored) = stored(task.task_id)
        {
            if task.revision == stored.revision && task == stored {
                *task = Arc::clone(stored);
            } else if task.revision >= stored.revision {
                return Err(format!("task {} is not as the event of revision {} tells", task.task_id, event.revision));
            }
        }
        if let Object::Deployment(deployment) = &mut event.object {
            share_versions(Arc::make_mut(deployment), &mut versions);
        }
        if let Object::Deployment(deployment) = &mut event.object
            && let Some(stored) = stored_deployment(deployment.deployment_id)
        {
            if deployment.revision == stored.revision && deployment == stored {
                *deployment = Arc::clone(stored);
            } else if deployment.revision >= stored.revision {
                let (name, revision) = (&deployment.name, event.revision);
                return Err(format!("deployment {name} is not as the event of revision {revision} tells"));
            }
        }
        if let Object::Job(job) = &mut event.object {
            share_job_specs(Arc::make_mut(job), &mut job_specs);
        }
        if let Object::Job(job) = &mut event.object
            && let Ok(at) = jobs.binary_search_by_key(&job.job_id, |stored| stored.job_id)
        {
            let stored = &jobs[at];
            if job.revision == stored.revision && job == stored {
                *job = Arc::clone(stored);
            } else if job.revision >= stored.revision {
                return Err(format!("job {} is not as the event of revision {} tells", job.name, event.revision));
            }
        }
        if let Object::Config(config) = &mut event.object
            && let Ok(at) = configs.binary_search_by(|known| known.name.cmp(&config.name))
        {
            let stored = &configs[at];
            if config.revision == stored.revision && config == stored {
                *config = Arc::clone(stored);
            } else if config.revision >= stored.revision {
                let revision = event.revision;
                return Err(format!("{} is not as the event of revision {revision} tells", config.name));
            }
        }
        shared.push(Arc::new(event));
    }
    Ok(shared)
}

/// Has the versions that events tell of be those in memory that say the same: each event of a deployment tells of all.
fn share_versions(deployment: &mut Deployment, known: &mut HashMap<(DeploymentId, u32), Arc<Version>>) {
    for version in &mut deployment.versions {
        let same = known.entry((deployment.deployment_id, version.number)).or_insert_with(|| Arc::clone(version));
        if same == version {
            *version = Arc::clone(same);
        }
    }
}

/// The same for what jobs and their runs want: an event tells it of the job, and of each run that goes on.
fn share_job_specs(job: &mut Job, known: &mut HashMap<JobId, Vec<Arc<JobSpec>>>) {
    let known = known.entry(job.job_id).or_default();
    for spec in [&mut job.spec].into_iter().chain(job.runs.iter_mut().filter_map(|run| run.spec.as_mut())) {
        match known.iter().rev().find(|one| *one == spec) {
            Some(same) => *spec = Arc::clone(same),
            None => known.push(Arc::clone(spec)),
        }
    }
}

fn load_requests(engine: &Engine, head: &Head) -> Result<Vec<Arc<RequestRecord>>, String> {
    let read = decode_all(engine, Table::Requests, |key, value| {
        let request = request_from_record(store_v1::RequestRecord::decode(value)?)?;
        Ok((key.to_vec(), Arc::new(request)))
    })?;
    check_count("requests", read.len(), head.next_request - head.first_request)?;
    let mut requests = Vec::with_capacity(read.len());
    for (number, (key, request)) in (head.first_request..).zip(read) {
        if key != number.to_be_bytes() {
            return Err(format!("request {number} is missing"));
        }
        requests.push(request);
    }
    Ok(requests)
}

fn check_count(what: &str, found: usize, expected: u64) -> Result<(), String> {
    if found as u64 == expected { Ok(()) } else { Err(format!("it holds {found} {what} instead of {expected}")) }
}

fn check_record(has_its_key: bool, revision: Revision, head: &Head) -> Result<(), Malformed> {
    if !has_its_key {
        return Err(Malformed("it is not the one of its key".to_owned()));
    }
    if revision > head.revision {
        return Err(Malformed(format!("its revision {revision} is above the store's {}", head.revision)));
    }
    Ok(())
}

/// Decodes all records of a table, on all cores, in order of their keys.
fn decode_all<T: Send>(
    engine: &Engine,
    table: Table,
    decode_one: impl Fn(&[u8], &[u8]) -> Result<T, Malformed> + Sync,
) -> Result<Vec<T>, String> {
    decode(engine.iter(table), table, decode_one)
}

/// The same of some records of it.
fn decode<T: Send>(
    records: fjall::Iter,
    table: Table,
    decode: impl Fn(&[u8], &[u8]) -> Result<T, Malformed> + Sync,
) -> Result<Vec<T>, String> {
    type Record = (fjall::Slice, fjall::Slice);
    let decode_chunk = |chunk: Vec<Record>| -> Result<Vec<T>, String> {
        let decode_one = |(key, value): Record| {
            decode(&key, &value).map_err(|problem| format!("{} record {} is wrong: {problem}", table.name(), hex(&key)))
        };
        chunk.into_iter().map(decode_one).collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (chunks_to, chunks) = mpsc::sync_channel::<(usize, Vec<Record>)>(2 * threads);
    let chunks = Mutex::new(chunks);
    let decoded = Mutex::new(Vec::new());
    let mut read = Ok(());
    std::thread::scope(|scope| {
        let decoder = || {
            loop {
                let next = chunks.lock().recv();
                let Ok((index, chunk)) = next else { return };
                let outcome = decode_chunk(chunk);
                decoded.lock().push((index, outcome));
            }
        };
        for _ in 0..threads {
            scope.spawn(decoder);
        }
        let mut records = records
            .map(|guard| guard.into_inner().map_err(|problem| format!("{} can't be read: {problem:?}", table.name())));
        for index in 0.. {
            let chunk: Result<Vec<Record>, String> = records.by_ref().take(CHUNK).collect();
            match chunk {
                Ok(chunk) => {
                    if chunk.is_empty() || chunks_to.send((index, chunk)).is_err() {
                        break;
                    }
                }
                Err(problem) => {
                    read = Err(problem);
                    break;
                }
            }
        }
        drop(chunks_to);
    });
    read?;
    let mut decoded = decoded.into_inner();
    decoded.sort_unstable_by_key(|(index, _)| *index);
    let mut all = Vec::new();
    for (_, chunk) in decoded {
        all.extend(chunk?);
    }
    Ok(all)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(32).map(|byte| format!("{byte:02x}")).collect()
}
