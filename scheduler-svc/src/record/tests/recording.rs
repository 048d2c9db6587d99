use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Receiver;

use crate::grpc::ReplaySession;
use crate::record::queue::{Job, Queue};
use crate::record::test_support::{Directory, batch, delta, snapshot, stream, whole};
use crate::record::writer::Writer;
use crate::record::{Recorder, StreamRecord, Verdict, replay};

/// A stream, and what it goes by.
struct Stream {
    record: StreamRecord,
    session: ReplaySession,
}

impl Stream {
    fn open(recorder: &Recorder, nodes: u64) -> Self {
        let mut stream = Self { record: recorder.open_stream(), session: ReplaySession::new(snapshot(nodes)).unwrap() };
        stream.snapshot();
        stream
    }

    fn snapshot(&mut self) {
        if self.record.needs_snapshot() {
            self.record.snapshot(self.session.snapshot());
        }
    }

    /// A batch, and a delta so that there is always room.
    fn batch(&mut self, number: u64, groups: usize) {
        self.snapshot();
        let mut batch = batch(number);
        for at in 2..groups {
            batch.groups.push(batch.groups[0].clone());
            batch.groups[at].group_id = at.to_string();
        }
        let recorded = self.record.is_recorded().then(|| batch.clone());
        let answer = self.session.batch(batch).unwrap();
        self.record.batch(recorded, &answer);
        self.snapshot();
        let recorded = self.record.is_recorded().then(delta);
        self.session.delta(delta()).unwrap();
        self.record.delta(recorded);
    }
}

/// A recorder, and what its thread would do when told to.
struct Steps {
    recorder: Recorder,
    jobs: Receiver<Job>,
    writer: Writer,
}

impl Steps {
    fn begin(directory: &Directory, max_bytes: u64, queue_bytes: u64) -> Self {
        let (queue, jobs) = Queue::with_room(queue_bytes);
        let (file, last_stream) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let writer = Writer::begin(&directory.file(), max_bytes, Arc::clone(&file)).unwrap();
        let recorder = Recorder { queue, file, last_stream, max_bytes, overhead: writer.overhead() };
        Self { recorder, jobs, writer }
    }

    /// Writes what waits.
    fn write(&mut self) {
        for job in self.jobs.try_iter() {
            match job {
                Job::Write(waiting) => self.writer.take(&waiting),
                Job::End => panic!("nobody ends it"),
            }
        }
    }

    fn finish(mut self) {
        self.write();
        self.writer.finish();
    }
}

#[tokio::test]
async fn all_that_waits_is_written_before_the_end() {
    let directory = Directory::new("end");
    let (recorder, recording) = Recorder::start(&directory.file(), 1 << 20).unwrap();
    let mut stream = Stream::open(&recorder, 3);
    for number in 0..100 {
        stream.batch(number, 2);
    }
    recording.end().await;
    let report = replay(&directory.file()).unwrap();
    assert_eq!(report.to_string(), "1 stream, 100 batches, 400 tasks: all as recorded");
    // What streams still say then is missing, and does no harm.
    stream.batch(100, 2);
    assert!(!stream.record.is_recorded());
    assert_eq!(replay(&directory.file()).unwrap(), report);
}

#[test]
fn nodes_that_never_fit_into_a_file_are_not_recorded_and_take_the_place_of_nothing() {
    let directory = Directory::new("large");
    let older = whole(&stream(1, 1));
    std::fs::write(directory.older(), &older).unwrap();
    let mut steps = Steps::begin(&directory, 6000, 1 << 20);
    let (mut large, mut small) = (Stream::open(&steps.recorder, 100), Stream::open(&steps.recorder, 2));
    for number in 0..3 {
        assert!(!large.record.needs_snapshot() && !large.record.is_recorded());
        large.batch(number, 2);
        small.batch(number, 2);
        steps.write();
    }
    steps.finish();
    assert_eq!(std::fs::read(directory.older()).unwrap(), older);
    let told = replay(&directory.file()).unwrap().to_string();
    assert_eq!(told, "1 stream, 3 batches, 12 tasks: all as recorded");
}

#[test]
fn a_file_without_batches_takes_the_place_of_none() {
    let directory = Directory::new("idle");
    let older = whole(&stream(1, 1));
    std::fs::write(directory.older(), &older).unwrap();
    let mut steps = Steps::begin(&directory, 4000, 1 << 20);
    let mut stream = Stream::open(&steps.recorder, 5);
    for number in 0..30 {
        // A batch larger than what its snapshot leaves of a file, and a delta.
        stream.batch(number, 50);
        steps.write();
        assert!(std::fs::metadata(directory.file()).unwrap().len() <= 4000);
    }
    steps.finish();
    assert_eq!(std::fs::read(directory.older()).unwrap(), older);
    let report = replay(&directory.file()).unwrap();
    assert_eq!((report.verdict(), report.batches), (Verdict::Same, 0), "{report}");
}

#[test]
fn a_full_file_is_ended_in_order_and_kept() {
    let directory = Directory::new("full");
    let mut steps = Steps::begin(&directory, 10_000, 1 << 20);
    let mut stream = Stream::open(&steps.recorder, 5);
    let mut number = 0;
    while !directory.older().exists() {
        stream.batch(number, 2);
        steps.write();
        number += 1;
    }
    let older = replay(&directory.older()).unwrap();
    assert_eq!((older.verdict(), older.missing), (Verdict::Same, 0), "{older}");
    assert!(older.batches >= number - 1 && older.batches > 5, "{older}");
    stream.batch(number, 2);
    steps.finish();
    assert_eq!(replay(&directory.file()).unwrap().to_string(), "1 stream, 1 batch, 4 tasks: all as recorded");
    for path in [directory.file(), directory.older()] {
        assert!(std::fs::metadata(path).unwrap().len() <= 10_000);
    }
}

#[test]
fn what_the_queue_has_no_room_for_is_a_gap_and_counted() {
    let directory = Directory::new("gap");
    let mut steps = Steps::begin(&directory, 1 << 20, 4000);
    let mut stream = Stream::open(&steps.recorder, 3);
    for number in 0..100 {
        stream.batch(number, 2);
    }
    steps.write();
    for number in 100..102 {
        stream.batch(number, 2);
    }
    steps.finish();
    let report = replay(&directory.file()).unwrap();
    assert_eq!(report.verdict(), Verdict::Same, "{report}");
    // Each entry is a message that was recorded; of each snapshot but the first it is not known whether anything was missing.
    assert!((150..200).contains(&report.missing), "{report}");
    assert!(std::fs::metadata(directory.file()).unwrap().len() < 12_000);
}

#[test]
fn a_file_that_can_not_be_begun_is_tried_again() {
    let directory = Directory::new("again");
    let mut steps = Steps::begin(&directory, 4000, 1 << 20);
    // Somebody puts something where the full file would go.
    std::fs::write(directory.older(), "diary").unwrap();
    let mut stream = Stream::open(&steps.recorder, 3);
    for number in 0..50 {
        stream.batch(number, 2);
        steps.write();
    }
    assert_eq!(std::fs::read(directory.older()).unwrap(), b"diary");
    let kept = std::fs::read(directory.file()).unwrap();
    std::fs::remove_file(directory.older()).unwrap();
    for number in 50..52 {
        stream.batch(number, 2);
        steps.write();
    }
    steps.finish();
    assert_eq!(std::fs::read(directory.older()).unwrap(), kept);
    for path in [directory.file(), directory.older()] {
        let report = replay(&path).unwrap();
        assert!(report.batches > 0 && report.verdict() == Verdict::Same, "{report}");
    }
}
