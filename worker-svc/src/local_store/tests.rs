use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use davit_core::id::{Attempt, AttemptKey, Revision, TaskId};
use davit_core::placement::RuntimeKind;
use davit_core::spec::{ContainerSpec, PortProtocol, RuntimeSpec, TaskSpec};
use davit_core::task::{AttemptStatus, DesiredState, Part, PortBinding};
use davit_proto::convert::Assignment;
use parking_lot::Mutex;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

fn key(task: u128) -> AttemptKey {
    AttemptKey { task_id: TaskId(Uuid::from_u128(task)), attempt: Attempt(2) }
}

fn assignment(key: AttemptKey) -> Assignment {
    let container = ContainerSpec::new("busybox".parse().unwrap());
    let spec = TaskSpec::new("web", RuntimeSpec::Container(container)).into();
    let ports = [PortBinding { container_port: 80, protocol: PortProtocol::Tcp, host_port: 20_000 }].into();
    Assignment { key, revision: Revision(7), desired_state: DesiredState::Running, spec, ports, part: Part::Alone }
}

fn status(sequence: u64) -> AttemptStatus {
    let state = davit_core::state::TaskState::Failed;
    AttemptStatus { sequence, state, exit_code: Some(7), ..AttemptStatus::pending(Attempt(2), "exited with code 7") }
}

async fn open(path: &Path) -> LocalStore {
    LocalStore::open(Box::new(FjallBackend::new(path.to_owned()))).await.unwrap()
}

/// Keeps what a worker knows of an attempt that it has begun.
async fn keep(store: &LocalStore, task: u128, sync: bool, mark: Mark) {
    store.keep(key(task), Record::assigned(&assignment(key(task))));
    store.write(key(task), sync, |record| record.mark = mark).await.unwrap();
}

/// A store that a worker left behind, with one record in it.
async fn left_behind() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).await;
    keep(&store, 1, true, Mark::Start).await;
    drop(store);
    // Opened once more, so that its last holder is gone.
    drop(open(&path).await);
    (directory, path)
}

/// What a worker that starts now would find.
async fn kept(path: &Path) -> BTreeMap<AttemptKey, Record> {
    open(path).await.records()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store/cluster");
    let store = open(&path).await;
    for task in 1..=3 {
        keep(&store, task, false, Mark::Create).await;
    }
    store.write(key(1), true, |record| record.mark = Mark::Start).await.unwrap();
    store.write(key(2), true, |record| record.set_known(&status(5), false)).await.unwrap();
    store.note(key(2), |record| record.set_known(&status(4), true));
    store.remove(key(3)).await.unwrap();
    let before = store.records();
    drop(store);
    let after = kept(&path).await;
    assert_eq!(after, before);
    assert_eq!(after[&key(1)].assignment(), Some(assignment(key(1))));
    assert_eq!(after[&key(1)].mark, Mark::Start);
    // What is older than what is known changes nothing.
    assert_eq!(after[&key(2)].end(), Some(&Known { status: status(5), acknowledged: false }));
}

#[tokio::test]
async fn which_run_did_not_serve_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).await;
    keep(&store, 1, false, Mark::Start).await;
    let run = jiff::Timestamp::from_nanosecond(1_700_000_000_123_456_789).unwrap();
    let unhealthy = Unhealthy { run, reason: "unhealthy: tcp :80".to_owned() };
    let noted = Some(Box::new(unhealthy.clone()));
    store.write(key(1), true, |record| record.unhealthy = noted).await.unwrap();
    assert_eq!(store.record(key(1)).unwrap().unhealthy.as_deref(), Some(&unhealthy));
    drop(store);
    let record = kept(&path).await.remove(&key(1)).unwrap();
    assert_eq!(record.unhealthy_in(Some(run)), Some(&unhealthy));
    assert_eq!(record.unhealthy_in(None), Some(&unhealthy), "nobody knows which run it was");
    assert_eq!(record.unhealthy_in(Some(jiff::Timestamp::UNIX_EPOCH)), None, "it has been started again since");
}

#[tokio::test]
async fn what_is_noted_is_written_when_the_store_closes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).await;
    store.keep(key(1), Record::found(RuntimeKind::Docker));
    store.note(key(1), |record| record.set_known(&status(1), true));
    drop(store);
    assert!(kept(&path).await[&key(1)].end().unwrap().acknowledged);
}

#[tokio::test]
async fn a_store_of_a_newer_worker_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut backend = FjallBackend::new(path.clone());
    backend.load().unwrap();
    backend.write(vec![(b"!format".to_vec(), Some(9_u32.to_be_bytes().to_vec()))], true).unwrap();
    drop(backend);
    let error = LocalStore::open(Box::new(FjallBackend::new(path.clone()))).await.unwrap_err();
    assert!(matches!(error, Error::Newer { found: 9, .. }), "{error}");
    assert!(path.join("version").exists());
}

#[tokio::test]
async fn a_store_that_is_open_elsewhere_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let _open = open(&path).await;
    let error = LocalStore::open(Box::new(FjallBackend::new(path))).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_told_and_not_taken_for_damage() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = LocalStore::open(Box::new(FjallBackend::new(file.join("store")))).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }) && error.to_string().contains("file"), "{error}");
}

/// Every file of a store, cut at every kind of place and with bytes turned over: the store opens, and has what was there; or it
/// is known that something is lost.
#[tokio::test]
async fn damage_of_any_file_does_not_stop_a_worker_and_is_never_overlooked() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    let store = open(&original).await;
    for task in 1..=50 {
        keep(&store, task, true, Mark::Start).await;
    }
    let whole = store.records();
    drop(store);
    assert_eq!(kept(&original).await, whole);
    let files = files_below(&original);
    assert!(files.len() > 3, "{files:?}");
    for file in &files {
        for (number, damage) in DAMAGES.iter().enumerate() {
            let copy = directory.path().join(format!("copy-{number}"));
            copy_all(&original, &copy);
            std::fs::copy(mark_of(&original), mark_of(&copy)).unwrap();
            damage(&copy.join(file));
            let store = open(&copy).await;
            let (what, found) = (format!("{} after damage {number}", file.display()), store.records());
            assert!(found == whole || store.has_lost(), "{what}: it has {} records, and nothing is lost", found.len());
            let same = found.iter().all(|(key, record)| whole.get(key) == Some(record));
            assert!(same, "{what} tells another thing");
            drop(store);
            let store = open(&copy).await;
            assert!(found == whole || store.has_lost(), "{what}: the loss is forgotten");
            drop(store);
            std::fs::remove_dir_all(&copy).unwrap();
            let aside = directory.path().join(format!("copy-{number}.damaged-1"));
            if aside.exists() {
                std::fs::remove_dir_all(aside).unwrap();
            }
        }
    }
}

fn mark_of(store: &Path) -> PathBuf {
    store.with_file_name(format!("_mark-{}", store.file_name().unwrap().to_str().unwrap()))
}

#[tokio::test]
async fn a_store_that_is_gone_is_a_loss_until_it_is_made_up_for_and_a_new_one_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path).await;
    assert!(!store.has_lost(), "it is new");
    keep(&store, 1, true, Mark::Start).await;
    drop(store);
    std::fs::remove_dir_all(&path).unwrap();
    for _ in 0..2 {
        let store = open(&path).await;
        assert!(store.has_lost() && store.records().is_empty());
    }
    let store = open(&path).await;
    store.made_up_for().await.unwrap();
    keep(&store, 2, false, Mark::Create).await;
    drop(store);
    let store = open(&path).await;
    assert!(!store.has_lost());
    assert_eq!(store.records().into_keys().collect::<Vec<_>>(), [key(2)]);
}

#[tokio::test]
async fn a_torn_end_of_what_was_not_synced_is_no_loss_and_of_what_was_is_one() {
    for (synced, lost) in [(false, false), (true, true)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let store = open(&path).await;
        for (task, sync) in [(1, true), (2, synced)] {
            keep(&store, task, sync, Mark::Create).await;
        }
        drop(store);
        // Opened once more, so that its last holder is gone.
        assert_eq!(kept(&path).await.len(), 2);
        let is_journal = |file: &&PathBuf| file.extension().is_some_and(|end| end == "jnl");
        let journal = path.join(files_below(&path).iter().find(is_journal).unwrap());
        cut(&journal, content(&journal).len() as u64 - 5);
        let store = open(&path).await;
        assert_eq!(store.has_lost(), lost);
        assert_eq!(store.records().len(), if lost { 0 } else { 1 });
    }
}

#[tokio::test]
async fn a_store_of_a_worker_that_did_not_count_is_taken_as_it_is() {
    let (_directory, path) = left_behind().await;
    std::fs::remove_file(mark_of(&path)).unwrap();
    let store = open(&path).await;
    assert!(!store.has_lost() && store.records().len() == 1);
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_a_loss_of_the_records_whose_end_it_knew() {
    for left in [&b""[..], b"no mark"] {
        let (directory, path) = left_behind().await;
        std::fs::write(mark_of(&path), left).unwrap();
        for _ in 0..2 {
            let store = open(&path).await;
            assert!(store.has_lost() && store.records().is_empty(), "{left:?}");
        }
        assert!(
            directory.path().join("store.damaged-1").exists() && !directory.path().join("store.damaged-2").exists()
        );
    }
}

#[tokio::test]
async fn a_store_that_was_there_for_certain_and_is_gone_with_its_mark_is_a_loss() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store/cluster");
    let known = async || LocalStore::open(Box::new(FjallBackend::known(path.clone()))).await.unwrap();
    drop(open(&path).await);
    assert!(!known().await.has_lost(), "it is there, with nothing in it yet");
    std::fs::remove_dir_all(directory.path().join("store")).unwrap();
    for _ in 0..2 {
        assert!(known().await.has_lost());
    }
    known().await.made_up_for().await.unwrap();
    assert!(!known().await.has_lost());
}

const DAMAGES: [fn(&Path); 5] = [
    |path| std::fs::remove_file(path).unwrap(),
    |path| cut(path, 0),
    |path| cut(path, content(path).len() as u64 / 2),
    |path| turn_over(path, 0),
    |path| turn_over(path, content(path).len() / 2),
];

/// Without the room that the engine set aside.
fn content(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

fn cut(path: &Path, length: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn turn_over(path: &Path, at: usize) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    if file.read_at(&mut byte, at as u64).unwrap() == 1 {
        file.write_all_at(&[!byte[0]], at as u64).unwrap();
    }
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut directories) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root.join(&directory)).unwrap() {
            let path = directory.join(entry.unwrap().file_name());
            if root.join(&path).is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}

fn copy_all(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(&file);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        // Not a plain copy: the room that the engine set aside would be written out.
        std::fs::write(&target, content(&from.join(&file))).unwrap();
        cut(&target, std::fs::metadata(from.join(&file)).unwrap().len());
    }
}

/// Fails when it is told to, and notes what it was asked.
#[derive(Debug, Clone, Default)]
struct Steered {
    shared: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct Written {
    batches: Vec<(Vec<Change>, bool)>,
    fails: bool,
}

impl Backend for Steered {
    fn blocks(&self) -> bool {
        false
    }

    fn load(&mut self) -> Result<Vec<Entry>, Error> {
        Ok(Vec::new())
    }

    fn write(&mut self, changes: Vec<Change>, sync: bool) -> Result<(), Error> {
        let mut written = self.shared.lock();
        if written.fails {
            return Err(Error::Unusable { path: PathBuf::from("here"), problem: "no space left".to_owned() });
        }
        written.batches.push((changes, sync));
        Ok(())
    }
}

#[tokio::test]
async fn a_write_that_failed_is_told_and_made_up_for_by_the_next() {
    let backend = Steered::default();
    let store = LocalStore::open(Box::new(backend.clone())).await.unwrap();
    store.keep(key(1), Record::found(RuntimeKind::Docker));
    store.keep(key(2), Record::found(RuntimeKind::Docker));
    backend.shared.lock().fails = true;
    let error = store.write(key(1), true, |record| record.mark = Mark::Start).await.unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    backend.shared.lock().fails = false;
    store.write(key(2), false, |record| record.mark = Mark::Stop).await.unwrap();
    let batches = std::mem::take(&mut backend.shared.lock().batches);
    let keys: Vec<_> = batches.iter().flat_map(|(changes, _)| changes.iter().map(|(key, _)| key.clone())).collect();
    assert_eq!(keys, [record::key_bytes(key(1)), record::key_bytes(key(2))]);
    assert!(batches[0].1, "what was to reach the disk still has to");
}

#[tokio::test]
async fn writes_that_come_together_share_a_batch() {
    let backend = Steered::default();
    let store = LocalStore::open(Box::new(backend.clone())).await.unwrap();
    let writes = (1..=100).map(|task| {
        store.keep(key(task), Record::found(RuntimeKind::Docker));
        store.write(key(task), task == 100, |record| record.mark = Mark::Start)
    });
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    let batches = std::mem::take(&mut backend.shared.lock().batches);
    assert_eq!(batches.iter().map(|(changes, _)| changes.len()).sum::<usize>(), 100);
    assert!(batches.len() <= 2 && batches.iter().any(|(_, sync)| *sync), "{} batches", batches.len());
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    assert_eq!(Record::from_bytes(b""), None, "without a kind");
    assert_eq!(Record::from_bytes(b"\xff\xff\xff"), None);
    assert_eq!(record::key_from_bytes(b"a short"), None);
    let bytes = record::key_bytes(key(9));
    assert_eq!(record::key_from_bytes(&bytes), Some(key(9)));
}
