//! Recorded streams are replayed to the letter by the program, and nothing that was recorded is lost or overwritten.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use davit_proto::v1;
use davit_proto::v1::place_request::Message;
use davit_svc_kit::client;
use davit_svc_kit::shutdown::Shutdown;
use scheduler_svc::config::Config;
use scheduler_svc::record::{Verdict, replay};
use support::{Client, HANG, Place, Scheduler, batch, group, node};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

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

    fn older(&self) -> PathBuf {
        self.0.join("record.1")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit-scheduler"));
    command.env_clear().kill_on_drop(true);
    command
}

/// What the program says of a file: its exit code, what it tells, and the problem.
async fn replayed(path: &Path) -> (Option<i32>, String, String) {
    let output = program().arg("replay").arg(path).output();
    let output = tokio::time::timeout(HANG, output).await.expect("the replay hangs").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Starts the program; gives it with its address.
async fn start(recording: &Recording) -> (Child, String) {
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-format", "json", "--record"]);
    let mut child = command.arg(recording.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
    let address = async {
        loop {
            let line = tokio::select! {
                Ok(Some(line)) = out.next_line() => line,
                Ok(Some(line)) = err.next_line() => line,
                else => panic!("the scheduler ended"),
            };
            if let Some((_, rest)) = line.split_once("\"address\":\"") {
                break rest.split('"').next().unwrap().to_owned();
            }
        }
    };
    let address = tokio::time::timeout(HANG, address).await.expect("the scheduler does not start");
    // Both are read on, so that it is never held up.
    tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
    tokio::spawn(async move { while let Ok(Some(_)) = err.next_line().await {} });
    (child, address)
}

async fn place(client: &mut Client, batches: u64) -> [Place; 2] {
    let mut streams = [
        Place::with_nodes(client, (1..20).map(node).collect()).await,
        Place::with_nodes(client, (1..5).map(node).collect()).await,
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
    streams
}

async fn record(path: &Path, max_bytes: u64, batches: u64) {
    let config = Config { record: Some(path.to_owned()), record_max_bytes: max_bytes, ..Config::default() };
    let scheduler = Scheduler::start_with(config, Shutdown::new()).await;
    let mut client = scheduler.client().await;
    drop(place(&mut client, batches).await);
    scheduler.stops().await;
}

#[tokio::test]
async fn the_exit_code_of_a_replay_tells_what_came_of_the_recording() {
    let recording = Recording::new("codes");
    record(&recording.path(), 1 << 30, 20).await;
    let told = replayed(&recording.path()).await;
    let same = "2 streams, 40 batches, 160 tasks: all as recorded\n".to_owned();
    assert_eq!(told, (Some(0), same, String::new()));
    let bytes = std::fs::read(recording.path()).unwrap();

    std::fs::write(recording.path(), otherwise(&bytes)).unwrap();
    let (code, told, _) = replayed(&recording.path()).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("1 difference\nstream ") && told.contains(", batch 19, group \"b\": recorded "), "{told}");

    for foreign in ["something else", "davit placement record, format 9\n"] {
        std::fs::write(recording.path(), foreign).unwrap();
        let (code, told, problem) = replayed(&recording.path()).await;
        assert_eq!((code, told.as_str()), (Some(2), ""));
        assert!(problem.contains("not a recording") || problem.contains("written in format 9"), "{problem}");
    }
    let (code, _, problem) = replayed(&recording.older()).await;
    assert_eq!(code, Some(2));
    assert!(problem.contains("record.1"), "{problem}");

    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    for flawed in [&bytes[..bytes.len() / 3], &damaged] {
        std::fs::write(recording.path(), flawed).unwrap();
        let (code, told, _) = replayed(&recording.path()).await;
        assert_eq!(code, Some(3), "{told}");
        assert!(told.contains(" at byte ") && told.contains(" batches before that were compared"), "{told}");
    }

    let output = program().args(["replay", "--help"]).output().await.unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for code in ["  0  all", "  1  something", "  2  the file", "  3  all"] {
        assert!(help.contains(code), "{help}");
    }
}

/// The same recording with another count in its last answer, and with the right checksums.
fn otherwise(bytes: &[u8]) -> Vec<u8> {
    let mut entries = entries(bytes);
    // What is in a batch is followed by its answer, whose ids are followed by counts.
    let id = support::node_id(1).into_bytes();
    let prefix = &id[..id.len() - 1];
    let is_run = |window: &[u8]| window.starts_with(prefix) && window[id.len()] == 0x10;
    let last_run = |entry: &Vec<u8>| entry.windows(id.len() + 1).rposition(is_run);
    let (entry, at) = entries.iter_mut().rev().find_map(|entry| last_run(entry).map(|at| (entry, at))).unwrap();
    entry[at + id.len() + 1] += 1;
    let mut altered = bytes[..=line_end(bytes)].to_vec();
    for entry in entries {
        let head = [(entry.len() as u32).to_le_bytes(), crc32(&entry).to_le_bytes()].concat();
        altered.extend([&head[..], &crc32(&head).to_le_bytes(), &entry].concat());
    }
    altered
}

fn line_end(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap()
}

fn entries(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    let mut rest = &bytes[line_end(bytes) + 1..];
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        entries.push(rest[12..12 + length].to_vec());
        rest = &rest[12 + length..];
    }
    entries
}

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[tokio::test]
async fn a_recording_never_grows_beyond_its_bound_and_each_file_replays_alone() {
    let recording = Recording::new("bound");
    let bound = 40_000;
    record(&recording.path(), bound, 120).await;
    for path in [recording.path(), recording.older()] {
        let report = replay(&path).unwrap();
        assert!(report.verdict() == Verdict::Same && report.batches > 0, "{report}");
        assert!(std::fs::metadata(&path).unwrap().len() <= bound);
    }
}

#[tokio::test]
async fn what_was_recorded_outlives_a_crash_and_the_start_after_it() {
    let recording = Recording::new("crash");
    let (mut scheduler, address) = start(&recording).await;
    let channel = client::endpoint(&address).unwrap().connect().await.unwrap();
    let streams = place(&mut Client::new(channel), 5).await;
    let is_written = async {
        while replay(&recording.path()).is_ok_and(|report| report.batches < 10) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, is_written).await.expect("it is not written");
    scheduler.kill().await.unwrap();
    drop(streams);

    let (mut scheduler, address) = start(&recording).await;
    let channel = client::endpoint(&address).unwrap().connect().await.unwrap();
    let _streams = place(&mut Client::new(channel), 1).await;
    let (code, told, _) = replayed(&recording.older()).await;
    assert_eq!(code, Some(3), "{told}");
    assert!(told.starts_with("2 streams, 10 batches, 40 tasks: all as recorded"), "{told}");
    scheduler.kill().await.unwrap();
}

#[tokio::test]
async fn what_was_recorded_last_is_written_before_the_program_ends() {
    let recording = Recording::new("stop");
    let (mut scheduler, address) = start(&recording).await;
    let channel = client::endpoint(&address).unwrap().connect().await.unwrap();
    let streams = place(&mut Client::new(channel), 5).await;
    let stop = Command::new("kill").arg(scheduler.id().unwrap().to_string()).status().await.unwrap();
    assert!(stop.success());
    let status = tokio::time::timeout(HANG, scheduler.wait()).await.expect("the scheduler hangs").unwrap();
    assert!(status.success(), "{status}");
    drop(streams);
    let (code, told, _) = replayed(&recording.path()).await;
    assert_eq!((code, told.as_str()), (Some(0), "2 streams, 10 batches, 40 tasks: all as recorded\n"));
}

#[tokio::test]
async fn a_file_that_is_no_recording_is_refused_and_stays() {
    let recording = Recording::new("refused");
    std::fs::write(recording.path(), "my diary").unwrap();
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--record"]).arg(recording.path());
    let output = tokio::time::timeout(HANG, command.output()).await.expect("the scheduler serves").unwrap();
    let problem = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(problem.contains(&recording.path().display().to_string()), "{problem}");
    assert!(problem.contains("not a recording"), "{problem}");
    assert_eq!(std::fs::read(recording.path()).unwrap(), b"my diary");
}
