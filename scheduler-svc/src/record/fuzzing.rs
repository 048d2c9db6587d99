//! Recordings of anything that may be in a file.

use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;
use prost::Message as _;

use super::format;
use super::replay::replay_all;
use super::report::{ReplayReport, Verdict};
use crate::fuzzing::MAX_TASKS;

/// A recording. Of an input that begins with an odd byte the rest is the file; else it is entries, each behind its length, and
/// the file is what a scheduler would have written of them: checksums let hardly any other change through.
///
/// # Panics
/// When what came of the replay contradicts itself.
pub fn recording(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let file = if first.is_multiple_of(2) { file_of(rest) } else { Some(rest.to_vec()) };
    if let Some(report) = file.and_then(|file| replay_all(file.as_slice()).ok()) {
        check(&report);
    }
}

fn check(report: &ReplayReport) {
    assert!(report.differences.len() as u64 <= report.differing, "{report:?}");
    assert_eq!(report.verdict() == Verdict::Different, report.differing > 0, "{report:?}");
    assert!(!report.to_string().is_empty());
}

/// The file of these entries; `None` if they are none, or to replay them would take long.
fn file_of(mut entries: &[u8]) -> Option<Vec<u8>> {
    let mut file = format::start().ok()?;
    let mut tasks = 0u64;
    while !entries.is_empty() {
        let length = prost::decode_length_delimiter(&mut entries).ok()?;
        let (entry, rest) = entries.split_at_checked(length)?;
        if let Some(Entry::Batch(v1::RecordedBatch { batch: Some(batch), .. })) =
            v1::RecordEntry::decode(entry).ok().and_then(|read| read.entry)
        {
            tasks += batch.groups.iter().map(|group| u64::from(group.count)).sum::<u64>();
        }
        format::write(&mut file, entry).ok()?;
        entries = rest;
    }
    (tasks <= MAX_TASKS).then_some(file)
}

#[cfg(test)]
mod tests {
    use davit_proto::fuzzing::corpus::{for_each_mutation, seeds, write_seed};

    use super::super::test_support::{Numbered, stream, whole};
    use super::*;

    /// Entries, as the target takes them.
    fn input(entries: &[Numbered]) -> Vec<u8> {
        let mut input = vec![0];
        for (stream_id, message, entry) in entries {
            let entry = v1::RecordEntry { stream_id: *stream_id, message: *message, entry: Some(entry.clone()) };
            input.extend(entry.encode_length_delimited_to_vec());
        }
        input
    }

    #[test]
    fn every_seed_of_recordings_is_replayed_and_no_mutation_breaks_a_promise() {
        let seeds = seeds("recording");
        for seed in &seeds {
            let file = if seed[0] == 0 { file_of(&seed[1..]).unwrap() } else { seed[1..].to_vec() };
            let report = replay_all(file.as_slice()).unwrap();
            assert!(report.batches > 0 && report.differing == 0, "{report}");
        }
        let mut replayed = 0;
        for_each_mutation(&seeds, 400, |bytes| {
            recording(bytes);
            let file = bytes.split_first().filter(|(first, _)| **first == 0).and_then(|(_, rest)| file_of(rest));
            replayed += usize::from(
                file.is_some_and(|file| replay_all(file.as_slice()).is_ok_and(|report| report.batches > 0)),
            );
        });
        assert!(replayed > 50, "only {replayed} mutations are replayed");
    }

    #[test]
    #[ignore = "writes fuzz/corpus/recording; after a change of the messages"]
    fn the_seeds_are_written() {
        let one = stream(1, 1);
        let (two, end) =
            ([stream(1, 1), stream(2, 1)].concat(), |count| Entry::End(v1::RecordEnd { entry_count: count }));
        write_seed("recording", "one-stream", &input(&[one.clone(), vec![(0, 0, end(one.len() as u64 + 1))]].concat()));
        write_seed(
            "recording",
            "two-streams",
            &input(&[two.clone(), vec![(0, 0, end(two.len() as u64 + 1))]].concat()),
        );
        write_seed("recording", "file", &[&[1], whole(&one).as_slice()].concat());
    }
}
