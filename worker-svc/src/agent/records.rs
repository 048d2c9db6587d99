//! The worker's own small record of each attempt that it began, one file each, written before the engine is asked.
//!
//! It tells a restarted worker what an engine can't: that an attempt whose instance is gone may have run and must not run
//! again, and that one was asked to stop. Without fsync: a killed worker loses nothing, and after a failure of the whole
//! machine the engine's own list still tells of containers, while processes are gone and reported as such.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use davit_core::id::{Attempt, AttemptKey};
use davit_core::placement::RuntimeKind;
use davit_core::spec::{PortProtocol, StopPolicy};
use davit_core::task::PortBinding;
use tokio::fs;

/// How far an attempt was when its record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Its instance was about to be created.
    Create,
    /// It was about to be started: it may have run.
    Start,
    /// It was asked to stop.
    Stop,
}

/// What is kept of an attempt's spec, for a restarted worker that the manager has not sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// The task's name; empty if it is not known.
    pub name: String,
    /// How it is stopped.
    pub stop: Option<StopPolicy>,
    /// Host ports that it was given.
    pub ports: Vec<PortBinding>,
}

/// What is kept of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What runs it.
    pub kind: RuntimeKind,
    /// How far it was.
    pub mark: Mark,
    /// Of its spec.
    pub kept: Kept,
}

/// The records of one cluster's attempts.
#[async_trait]
pub trait Records: Debug + Send + Sync {
    /// All records. What can't be read is left alone and told.
    ///
    /// # Errors
    /// When none can be read.
    async fn load(&self) -> io::Result<BTreeMap<AttemptKey, Record>>;

    /// Writes an attempt's record, in place of the one that there was.
    ///
    /// # Errors
    /// When it can't be written; the old one stands then.
    async fn write(&self, key: AttemptKey, record: &Record) -> io::Result<()>;

    /// Removes an attempt's record, if there is one.
    ///
    /// # Errors
    /// When it can't be removed.
    async fn remove(&self, key: AttemptKey) -> io::Result<()>;
}

/// Records in a directory, one file each.
#[derive(Debug)]
pub struct FileRecords {
    directory: PathBuf,
}

impl FileRecords {
    /// Records in this directory, which is made when they are loaded.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self, key: AttemptKey) -> PathBuf {
        self.directory.join(format!("{}_{}", key.task_id, key.attempt))
    }
}

#[async_trait]
impl Records for FileRecords {
    async fn load(&self) -> io::Result<BTreeMap<AttemptKey, Record>> {
        fs::create_dir_all(&self.directory).await?;
        let mut records = BTreeMap::new();
        let mut entries = fs::read_dir(&self.directory).await?;
        while let Some(entry) = entries.next_entry().await? {
            let path = entry.path();
            let Some(key) = key_of(&path) else { continue };
            match fs::read_to_string(&path).await {
                Ok(text) => match parse(&text) {
                    Some(record) => {
                        records.insert(key, record);
                    }
                    None => tracing::warn!(path = %path.display(), "unreadable record of an attempt"),
                },
                Err(error) => tracing::warn!(path = %path.display(), %error, "unreadable record of an attempt"),
            }
        }
        Ok(records)
    }

    async fn write(&self, key: AttemptKey, record: &Record) -> io::Result<()> {
        let path = self.path(key);
        let unfinished = path.with_extension("new");
        let mark = match record.mark {
            Mark::Create => "create",
            Mark::Start => "start",
            Mark::Stop => "stop",
        };
        let mut text = format!("{} {mark}\n", record.kind);
        if let Some(StopPolicy { signal, grace }) = &record.kept.stop {
            text.push_str(&format!("stop {} {signal}\n", grace.as_millis()));
        }
        for PortBinding { container_port, protocol, host_port } in &record.kept.ports {
            text.push_str(&format!("port {container_port}/{protocol} {host_port}\n"));
        }
        if !record.kept.name.is_empty() {
            text.push_str(&format!("name {}\n", record.kept.name));
        }
        fs::write(&unfinished, text).await?;
        fs::rename(&unfinished, &path).await
    }

    async fn remove(&self, key: AttemptKey) -> io::Result<()> {
        match fs::remove_file(self.path(key)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn key_of(path: &Path) -> Option<AttemptKey> {
    let (task_id, attempt) = path.file_name()?.to_str()?.split_once('_')?;
    Some(AttemptKey { task_id: task_id.parse().ok()?, attempt: Attempt(attempt.parse().ok()?) })
}

fn parse(text: &str) -> Option<Record> {
    let mut lines = text.lines();
    let mut words = lines.next()?.split_whitespace();
    let kind = match words.next()? {
        "docker" => RuntimeKind::Docker,
        "process" => RuntimeKind::Process,
        _ => return None,
    };
    let mark = match words.next()? {
        "create" => Mark::Create,
        "start" => Mark::Start,
        "stop" => Mark::Stop,
        _ => return None,
    };
    let mut kept = Kept::default();
    // What follows helps but is not needed.
    for line in lines {
        match line.split_once(' ') {
            Some(("name", name)) => name.clone_into(&mut kept.name),
            Some(("port", binding)) => kept.ports.extend(parse_port(binding)),
            Some(("stop", how)) => kept.stop = parse_stop(how),
            _ => {}
        }
    }
    words.next().is_none().then_some(Record { kind, mark, kept })
}

fn parse_stop(text: &str) -> Option<StopPolicy> {
    let (millis, signal) = text.split_once(' ')?;
    Some(StopPolicy { signal: signal.to_owned(), grace: Duration::from_millis(millis.parse().ok()?) })
}

/// `80/tcp 20000`
fn parse_port(text: &str) -> Option<PortBinding> {
    let (port, host_port) = text.split_once(' ')?;
    let (container_port, protocol) = port.split_once('/')?;
    let protocol = match protocol {
        "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        _ => return None,
    };
    Some(PortBinding { container_port: container_port.parse().ok()?, protocol, host_port: host_port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use davit_core::id::TaskId;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn records_survive_and_unreadable_ones_do_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let key = |attempt| AttemptKey { task_id: TaskId(Uuid::from_u128(7)), attempt: Attempt(attempt) };
        let records = FileRecords::new(directory.path().to_owned());
        records.load().await.unwrap();
        let stop = StopPolicy { signal: String::new(), grace: Duration::from_millis(1500) };
        let port = |container_port, protocol, host_port| PortBinding { container_port, protocol, host_port };
        let ports = vec![port(80, PortProtocol::Tcp, 20_000), port(53, PortProtocol::Udp, 20_001)];
        let kept = Kept { name: "web".to_owned(), stop: Some(stop), ports };
        let runs = Record { kind: RuntimeKind::Docker, mark: Mark::Start, kept };
        let stops = Record { kind: RuntimeKind::Process, mark: Mark::Stop, kept: Kept::default() };
        records.write(key(1), &runs).await.unwrap();
        records.write(key(2), &runs).await.unwrap();
        records.write(key(2), &stops).await.unwrap();
        records.write(key(3), &runs).await.unwrap();
        records.remove(key(3)).await.unwrap();
        records.remove(key(3)).await.unwrap();
        std::fs::write(directory.path().join("junk"), "x").unwrap();
        std::fs::write(directory.path().join(format!("{}_4", key(4).task_id)), "half a wo").unwrap();
        let loaded = FileRecords::new(directory.path().to_owned()).load().await.unwrap();
        assert_eq!(loaded, BTreeMap::from([(key(1), runs), (key(2), stops)]));
    }
}
