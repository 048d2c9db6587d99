use davit_proto::v1;
use davit_proto::v1::record_entry::Entry;
use proptest::prelude::*;

use crate::record::format::{self, Flaw, FormatError};
use crate::record::replay::replay_all;
use crate::record::report::{ReplayReport, Verdict};
use crate::record::test_support::{Numbered, batch, delta, snapshot, stream, whole, without_end};

fn replayed(bytes: &[u8]) -> ReplayReport {
    replay_all(bytes).unwrap()
}

fn answer(entries: &mut [Numbered], at: usize) -> &mut v1::PlaceResponse {
    match &mut entries[at].2 {
        Entry::Batch(v1::RecordedBatch { answer: Some(answer), .. }) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_recorded_comes_out_the_same() {
    let report = replayed(&whole(&[stream(1, 2), stream(2, 1)].concat()));
    assert_eq!(report.verdict(), Verdict::Same);
    assert_eq!(report.to_string(), "2 streams, 3 batches, 12 tasks: all as recorded");
    let one = replayed(&whole(&stream(7, 1)));
    assert_eq!(one.to_string(), "1 stream, 1 batch, 4 tasks: all as recorded");
    for nothing in [whole(&[]), without_end(&[])] {
        let report = replayed(&nothing);
        assert_eq!(report.verdict(), Verdict::Same);
        assert_eq!(report.to_string(), "0 streams, 0 batches, 0 tasks: nothing to compare");
    }
}

#[test]
fn every_group_that_differs_is_told_up_to_a_bound() {
    let mut entries = stream(1, 7);
    answer(&mut entries, 1).placements[1].runs[0].count += 3;
    let report = replayed(&whole(&entries));
    assert_eq!((report.verdict(), report.differing), (Verdict::Different, 1));
    let told = report.to_string();
    assert!(
        told.starts_with(
            "1 stream, 7 batches, 28 tasks: 1 difference\nstream 1, message 2, batch 1, group \"b\": recorded 4 on "
        ),
        "{told}"
    );

    for at in [1, 3, 5, 7, 9, 11, 13] {
        for placement in &mut answer(&mut entries, at).placements {
            placement.unplaced_reason.push_str("full");
        }
    }
    let report = replayed(&whole(&entries));
    assert_eq!((report.differing, report.differences.len()), (14, 10));
    let told = report.to_string();
    assert!(told.contains("14 differences\n") && told.contains("\n4 more\n"), "{told}");
}

#[test]
fn victims_and_what_is_refused_now_are_differences_too() {
    let mut entries = stream(1, 1);
    let preemption = |victim: &str| v1::Preemption { victim_task_ids: vec![victim.to_owned()], ..Default::default() };
    answer(&mut entries, 1).placements[0].preemptions = vec![preemption("x")];
    let told = replayed(&whole(&entries)).to_string();
    assert!(told.contains("recorded x stopped on "), "{told}");

    let mut unknown = batch(4);
    unknown.groups[0].algorithm = "darts".to_owned();
    entries = stream(1, 1);
    let recorded = v1::RecordedBatch { batch: Some(unknown), answer: Some(v1::PlaceResponse::default()) };
    entries.push((1, 4, Entry::Batch(recorded)));
    // What follows can't be worked out any more until the next snapshot.
    entries.push((1, 5, Entry::Delta(delta())));
    entries.push((1, 5, Entry::Snapshot(snapshot(3))));
    let report = replayed(&whole(&entries));
    assert_eq!((report.verdict(), report.differing, report.missing), (Verdict::Different, 1, 0));
    let told = report.to_string();
    assert!(told.contains("batch 4 is refused: ") && told.contains("darts"), "{told}");
}

#[test]
fn what_is_missing_in_between_is_counted() {
    let entries = [stream(1, 1), vec![(1, 9, Entry::Snapshot(snapshot(3))), (1, 10, Entry::Delta(delta()))]].concat();
    let report = replayed(&whole(&entries));
    assert_eq!((report.verdict(), report.missing), (Verdict::Same, 6));
    assert!(report.to_string().contains("6 messages in between were not recorded"), "{report}");
}

#[test]
fn entries_that_are_not_in_their_place_are_damage() {
    let first = stream(1, 1);
    let header = Entry::Header(v1::RecordHeader::default());
    let end = Entry::End(v1::RecordEnd { entry_count: 3 });
    let without_answer = Entry::Batch(v1::RecordedBatch { batch: Some(batch(1)), answer: None });
    for (entries, problem) in [
        (vec![first[0].clone(), (0, 0, header)], "there is a second header"),
        (vec![first[1].clone()], "stream 1 begins without a snapshot"),
        (vec![first[0].clone(), first[2].clone()], "stream 1: message 3 follows message 1"),
        (vec![first[0].clone(), first[1].clone(), first[0].clone()], "a snapshot after message 1 follows message 2"),
        (vec![first[0].clone(), (1, 2, without_answer)], "a batch or its answer is missing"),
        (vec![first[0].clone(), (0, 0, end.clone())], "the file ends with 2 entries, and had 3"),
        (vec![first[0].clone(), first[1].clone(), (0, 0, end), first[2].clone()], "something follows the file's end"),
    ] {
        let report = replayed(&without_end(&entries));
        assert_eq!(report.verdict(), Verdict::Flawed);
        assert!(report.to_string().contains(problem), "{report}");
    }
    let mut headless = b"davit placement record, format 2\n".to_vec();
    let entry = format::encode(1, 1, Entry::Snapshot(snapshot(1)));
    format::write(&mut headless, &entry).unwrap();
    assert!(replayed(&headless).to_string().contains("the first entry is no header"));
}

#[test]
fn a_file_of_another_kind_or_format_is_told() {
    let told = |bytes: &[u8]| replay_all(bytes).unwrap_err().to_string();
    assert!(told(b"something else").contains("not a recording"));
    assert!(told(b"").contains("not a recording"));
    assert!(told(b"davit placement record, format 31\n...").contains("written in format 31"));
    assert!(told(b"\x21\x12\x1f\x0a\x16davit placement record\x10\x01").contains("written in format 1"));
}

/// Nothing but what was written passes for whole.
fn check_mutation(original: &[u8], mutated: &[u8]) {
    match replay_all(mutated) {
        Ok(report) => {
            let is_unchanged = original == mutated;
            assert_eq!(report.verdict() == Verdict::Same, is_unchanged, "{report}");
            assert_eq!(report.flaw.is_none(), is_unchanged, "{report}");
        }
        Err(FormatError::Foreign | FormatError::OtherVersion { .. }) => {}
        Err(FormatError::Io(problem)) => panic!("{problem}"),
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let bytes = whole(&stream(1, 1));
    // Where nothing was recorded yet, nothing is missing.
    let start = format::start().unwrap().len();
    for length in (0..=bytes.len()).filter(|length| *length != start) {
        check_mutation(&bytes, &bytes[..length]);
    }
    let mut mutated = bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            mutated[at] ^= 1 << bit;
            check_mutation(&bytes, &mutated);
            mutated[at] = bytes[at];
        }
    }
}

#[test]
fn a_flaw_is_told_with_its_place_and_what_was_compared_before() {
    let entries = stream(1, 2);
    let (bytes, before) = (whole(&entries), without_end(&entries[..4]).len());
    let cut = replayed(&bytes[..before + 20]);
    assert_eq!(cut.flaw, Some(Flaw::CutOff { at: before as u64 + 20, entry_at: before as u64 }));
    let told = cut.to_string();
    assert!(told.starts_with("1 stream, 2 batches, 8 tasks: all as recorded, as far as "), "{told}");
    assert!(told.ends_with("; 2 batches before that were compared"), "{told}");
    assert_eq!(replayed(&bytes[..before]).flaw, Some(Flaw::NoEnd { at: before as u64 }));
    // A length that is damaged is no cut, and the other way round.
    let mut longer = bytes.clone();
    longer[before + 2] ^= 1;
    let damaged = replayed(&longer);
    assert!(matches!(damaged.flaw, Some(Flaw::Damaged { at, .. }) if at == before as u64), "{damaged}");
}

proptest! {
    #[test]
    fn no_mutation_passes_for_whole(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6),
    ) {
        let bytes = whole(&[stream(1, 2), stream(2, 1)].concat());
        let mut mutated = bytes.clone();
        for (at, byte, kind) in edits {
            let at = at.index(mutated.len().max(1));
            match kind {
                0 if at < mutated.len() => mutated[at] = byte,
                1 if at < mutated.len() => drop(mutated.remove(at)),
                _ => mutated.insert(at, byte),
            }
        }
        if mutated != format::start().unwrap() {
            check_mutation(&bytes, &mutated);
        }
    }

    /// As somebody with a hex editor and patience could make it.
    #[test]
    fn what_is_wrong_with_the_right_checksums_never_breaks_the_replay(
        which in 0..5_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = format::start().unwrap();
        for (at, (stream_id, message, entry)) in stream(1, 2).into_iter().enumerate() {
            let mut entry = format::encode(stream_id, message, entry);
            if at == which {
                for (at, byte) in &edits {
                    let at = at.index(entry.len());
                    entry[at] = *byte;
                }
            }
            format::write(&mut bytes, &entry).unwrap();
        }
        prop_assert!(replay_all(bytes.as_slice()).is_ok());
    }
}
