//! A process that commits is killed with -9, again and again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use davit_core::id::Revision;

use super::*;
use crate::commands::test_support::{labelled, spec};
use crate::state::{ClusterState, KeptEvents};

const DIR: &str = "DAVIT_TEST_STORE";
const ROUNDS: u64 = 12;

/// The process that is killed: commits for ever, and prints each revision once its commit is answered.
#[test]
#[ignore = "is the process that `all_that_was_acknowledged_is_there_after_kill_9` kills"]
fn child() {
    let store = open(Path::new(&std::env::var(DIR).unwrap()));
    let mut cluster = Cluster::new(0);
    cluster.state = ClusterState::from_snapshot(load(&store).unwrap(), KeptEvents::up_to(200));
    cluster.created = cluster.state.totals().created;
    let mut out = std::io::stdout();
    loop {
        let shape =
            if cluster.created.is_multiple_of(3) { labelled("n", &cluster.created.to_string()) } else { spec() };
        cluster.create(shape);
        commit(&store, &cluster.last_batch);
        writeln!(out, "acknowledged {}", cluster.state.revision()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is killed at a moment that nothing in it leads to")]
fn all_that_was_acknowledged_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Revision(0);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::fjall::tests::kill::child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let revision = |line: String| Some(Revision(line.split_once("acknowledged ")?.1.parse().ok()?));
        let mut seen = 0;
        while seen < 20 * (round % 4) + 1 {
            let line = lines.next().expect("the process ended by itself").unwrap();
            if let Some(revision) = revision(line) {
                (acknowledged, seen) = (revision, seen + 1);
            }
        }
        std::thread::sleep(Duration::from_micros(300 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still had said before it died counts as well.
        if let Some(last) = lines.map_while(Result::ok).filter_map(revision).last() {
            acknowledged = last;
        }
        let store = open(dir.path());
        let loaded = load(&store).unwrap();
        assert!(loaded.revision >= acknowledged, "{} < {acknowledged}", loaded.revision);
        assert_eq!(loaded.tasks.len() as u64, loaded.revision.0, "one task for each revision");
        acknowledged = loaded.revision;
    }
}
