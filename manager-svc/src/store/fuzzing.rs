//! Records of the store, as a damaged or foreign one may hold them.

use std::sync::Arc;

use davit_core::spec::{ProcessSpec, RuntimeSpec, TaskSpec};
use davit_proto::fuzzing::encoded_and_back;
use davit_proto::store_v1;
use prost::Message as _;

use super::records::{
    Malformed, SpecKey, SpecSource, config_from_record, config_to_record, deployment_from_record, deployment_to_record,
    event_from_record, event_to_record, job_from_record, job_to_record, node_from_record, node_to_record,
    request_from_record, request_to_record, spec_from_bytes, spec_to_bytes, task_from_record, task_to_record,
    volume_from_record, volume_to_record,
};
use super::{backup, fjall};

/// Has a spec for every key.
struct AnySpec(Arc<TaskSpec>);

impl SpecSource for AnySpec {
    fn spec(&self, _: SpecKey) -> Option<Arc<TaskSpec>> {
        Some(Arc::clone(&self.0))
    }
}

/// A record: a byte that says of what kind, then its bytes.
///
/// # Panics
/// When what was read is not the same after it was written and read again, or is refused without a word.
pub fn record(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    if let Err(problem) = survives(*kind, bytes) {
        assert!(!problem.0.is_empty(), "refused without a word");
    }
}

/// Reads, writes and reads again.
fn survives(kind: u8, bytes: &[u8]) -> Result<(), Malformed> {
    let process = ProcessSpec { command: vec!["true".to_owned()], env: [].into(), working_dir: String::new() };
    let specs = AnySpec(Arc::new(TaskSpec::new("web", RuntimeSpec::Process(process))));
    match kind % 12 {
        0 => {
            let (task, spec_key) = task_from_record(store_v1::TaskRecord::decode(bytes)?, &specs)?;
            let written = encoded_and_back(&task_to_record(&task, spec_key));
            assert_eq!(task_from_record(written, &specs), Ok((task, spec_key)));
        }
        1 => {
            let node = node_from_record(store_v1::NodeRecord::decode(bytes)?)?;
            assert_eq!(node_from_record(encoded_and_back(&node_to_record(&node))), Ok(node));
        }
        2 => {
            let (event, spec_keys) = event_from_record(store_v1::EventRecord::decode(bytes)?, &specs)?;
            let written = encoded_and_back(&event_to_record(&event, &spec_keys));
            let (again, spec_keys_again) = event_from_record(written.clone(), &specs)?;
            assert_eq!(event_to_record(&again, &spec_keys_again), written);
        }
        3 => {
            let request = request_from_record(store_v1::RequestRecord::decode(bytes)?)?;
            assert_eq!(request_from_record(encoded_and_back(&request_to_record(&request))), Ok(request));
        }
        4 => {
            let spec = spec_from_bytes(SpecKey::of(bytes), bytes)?;
            let written = spec_to_bytes(&spec);
            assert_eq!(spec_from_bytes(SpecKey::of(&written), &written), Ok(spec));
        }
        5 => fjall::fuzzing::head(bytes)?,
        6 => fjall::fuzzing::mark(bytes),
        7 => backup::fuzzing::backup(bytes)?,
        8 => {
            let (deployment, keys) = deployment_from_record(store_v1::DeploymentRecord::decode(bytes)?, &specs)?;
            let written = encoded_and_back(&deployment_to_record(&deployment, &keys));
            let (again, keys_again) = deployment_from_record(written.clone(), &specs)?;
            assert_eq!(deployment_to_record(&again, &keys_again), written);
        }
        11 => {
            let home = volume_from_record(store_v1::VolumeRecord::decode(bytes)?)?;
            assert_eq!(volume_from_record(encoded_and_back(&volume_to_record(&home))), Ok(home));
        }
        9 => {
            let (job, keys) = job_from_record(store_v1::JobRecord::decode(bytes)?, &specs)?;
            let written = encoded_and_back(&job_to_record(&job, &keys));
            let (again, keys_again) = job_from_record(written.clone(), &specs)?;
            assert_eq!(job_to_record(&again, &keys_again), written);
        }
        _ => {
            let config = config_from_record(store_v1::ConfigRecord::decode(bytes)?)?;
            assert_eq!(config_from_record(encoded_and_back(&config_to_record(&config))), Ok(config));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::super::tests::some_history;
    use super::*;

    #[test]
    fn every_seed_of_records_is_read_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("manager_record");
        for seed in &seeds {
            assert_eq!(survives(seed[0], &seed[1..]), Ok(()), "{seed:?}");
        }
        for_each_mutation(&seeds, 400, record);
    }

    const NAMES: [&str; 12] =
        ["task", "node", "event", "request", "spec", "head", "mark", "backup", "deployment", "job", "config", "volume"];

    /// Of each kind the first ones of a cluster's history.
    #[test]
    #[ignore = "writes fuzz/corpus/manager_record; after a change of the records"]
    fn the_seeds_are_written() {
        let (cluster, batches) = some_history();
        let state = &cluster.state;
        let key = SpecKey::of(&[]);
        let mut records: [Vec<Vec<u8>>; 12] = Default::default();
        records[0].extend(state.tasks().map(|task| task_to_record(task, key).encode_to_vec()));
        records[1].extend(state.nodes().map(|node| node_to_record(node).encode_to_vec()));
        let events = batches.iter().flat_map(|batch| batch.changes.iter().map(|change| &change.event));
        records[2].extend(events.map(|event| event_to_record(event, &[key, key]).encode_to_vec()));
        let requests = batches.iter().flat_map(|batch| batch.requests.iter());
        records[3].extend(requests.map(|request| request_to_record(request).encode_to_vec()));
        records[4].extend(state.tasks().map(|task| spec_to_bytes(&task.spec)));
        let head = store_v1::StoreHead { revision: 9, compacted_revision: 2, next_request: 3, ..Default::default() };
        records[5].push(head.encode_to_vec());
        records[6].push((0..=16).collect());
        let deployments = state.deployments().map(|deployment| deployment_to_record(deployment, &[key, key]));
        records[8].extend(deployments.map(|record| record.encode_to_vec()));
        records[9].extend(state.jobs().map(|job| job_to_record(job, &[key, key]).encode_to_vec()));
        records[10].extend(state.configs().map(|config| config_to_record(config).encode_to_vec()));
        let volume = store_v1::VolumeRecord {
            name: "data".to_owned(),
            node_id: vec![1; 16],
            bind_time: Some(Default::default()),
            revision: 3,
        };
        records[11].push(volume.encode_to_vec());
        for (kind, records) in (0u8..).zip(records) {
            // The least and the largest of those that differ.
            let mut records: Vec<_> = records;
            records.sort_by_key(Vec::len);
            records.dedup_by_key(|record| record.len());
            let chosen = records.first().into_iter().chain(records.last().filter(|_| records.len() > 1));
            for (number, record) in chosen.enumerate() {
                let name = format!("{}-{number}", NAMES[usize::from(kind)]);
                write_seed("manager_record", &name, &[&[kind], record.as_slice()].concat());
            }
        }
    }
}
