//! Recorded streams are replayed to the letter, also by the program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use davit_svc_kit::shutdown::Shutdown;
use scheduler_svc::config::Config;
use scheduler_svc::record::{ReplayError, replay};
use support::{Place, Scheduler, batch, group, node};

/// A file in a directory of its own, which goes with it.
struct Recording(PathBuf);

impl Recording {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("davit-record-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("record")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn record(path: &Path, max_bytes: u64, batches: u64) {
    let config = Config { record: Some(path.to_owned()), record_max_bytes: max_bytes, ..Config::default() };
    let scheduler = Scheduler::start_with(config, Shutdown::new()).await;
    let mut client = scheduler.client().await;
    let mut streams = [
        Place::with_nodes(&mut client, (1..20).map(node).collect()).await,
        Place::with_nodes(&mut client, (1..5).map(node).collect()).await,
    ];
    for number in 0..batches {
        for place in &mut streams {
            let algorithm = ["round-robin", "spread", "epvm", "binpack"][number as usize % 4];
            let groups = ["a", "b"].map(|id| v1::PlacementGroup { algorithm: algorithm.to_owned(), ..group(id, 2) });
            place.send(batch(number, groups.to_vec())).await;
            place.answer().await.unwrap().unwrap();
            let delta = v1::PlaceDelta { upserted: vec![node(1 + number as u32 % 4)], removed_node_ids: Vec::new() };
            place.send(Message::Delta(delta)).await;
        }
    }
    drop(streams);
    scheduler.stops().await;
}

/// The writer ends with the scheduler, a moment after it.
async fn replayed(path: &Path, batches: u64) -> scheduler_svc::record::ReplayReport {
    for _ in 0..200 {
        if let Ok(report) = replay(path)
            && report.batches >= batches
        {
            return report;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{:?}", replay(path));
}

#[tokio::test]
async fn what_was_recorded_comes_out_the_same_and_what_was_altered_is_told() {
    let recording = Recording::new("same");
    record(&recording.path(), 1 << 30, 20).await;
    let report = replayed(&recording.path(), 40).await;
    assert_eq!((report.streams, report.batches, report.tasks), (2, 40, 160));
    assert_eq!((report.difference, report.truncated), (None, None));
    let program = |path: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_davit-scheduler")).arg("replay").arg(path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told, _) = program(&recording.path());
    assert_eq!((code, told.as_str()), (Some(0), "2 streams, 40 batches, 160 tasks: all as recorded\n"));

    // The last digit of a node's id in an answer, where a count follows it; in a node its name does.
    let mut bytes = std::fs::read(recording.path()).unwrap();
    let id = support::node_id(1).into_bytes();
    let prefix = &id[..id.len() - 1];
    let is_run = |window: &[u8]| window.starts_with(prefix) && window[id.len()] == 0x10;
    let at = bytes.windows(id.len() + 1).rposition(is_run).unwrap();
    bytes[at + id.len() - 1] ^= 1;
    std::fs::write(recording.path(), &bytes).unwrap();
    let (code, told, _) = program(&recording.path());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("differs: group"), "{told}");

    std::fs::write(recording.path(), &bytes[..bytes.len() / 3]).unwrap();
    let cut = replay(&recording.path()).unwrap();
    assert!(cut.truncated.is_some() && cut.batches > 0, "{cut:?}");

    std::fs::write(recording.path(), "something else").unwrap();
    assert!(matches!(replay(&recording.path()), Err(ReplayError::File { .. })));
    let (code, _, problem) = program(&recording.path());
    assert_eq!(code, Some(2));
    assert!(problem.contains("not a recording"), "{problem}");
}

#[tokio::test]
async fn a_recording_never_grows_beyond_its_bound_and_each_file_replays_alone() {
    let recording = Recording::new("bound");
    let bound = 40_000;
    record(&recording.path(), bound, 120).await;
    let older = recording.0.join("record.1");
    for path in [recording.path(), older] {
        let report = replayed(&path, 1).await;
        assert_eq!(report.difference, None, "{report:?}");
        assert!(std::fs::metadata(&path).unwrap().len() <= bound);
    }
}
