//! What clients were answered. Kept here, outside of the cluster, and on disk for whoever looks into a failure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::stamp::Stamp;
use crate::witness::Runtime;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Container or process.
    pub(crate) runtime: Runtime,
    /// Two runs of it may never live at one time.
    pub(crate) lonely: bool,
    /// Ends by itself after so long; `None`: runs until it is stopped.
    pub(crate) lasts: Option<Duration>,
}

/// A task that a client asked for, and what it was told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name, and its request id.
    pub(crate) name: String,
    /// What it is.
    pub(crate) wish: Wish,
    /// When its creation was answered, and its id.
    pub(crate) created: Option<(Stamp, String)>,
    /// When a client first tried to stop it. From then on nobody knows whether it should run.
    pub(crate) stop_sent: Option<Stamp>,
    /// When that was answered.
    pub(crate) stop_answered: Option<Stamp>,
    /// When a client first saw that it had completed, and which attempt had.
    pub(crate) completed_seen: Option<(Stamp, u32)>,
}

impl Entry {
    /// Whether it is to run without end, for all that clients know.
    pub(crate) fn is_wanted_service(&self) -> bool {
        self.wish.lasts.is_none() && self.created.is_some() && self.stop_sent.is_none()
    }

    /// The id that it was given.
    pub(crate) fn task_id(&self) -> Option<&str> {
        self.created.as_ref().map(|(_, task_id)| task_id.as_str())
    }
}

/// All of them, by name, and what was wrong about answers themselves.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: BTreeMap<String, Entry>,
    violations: Vec<String>,
    file: File,
}

impl Ledger {
    /// An empty one, that writes along into this file.
    ///
    /// # Errors
    /// When the file can't be made.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { entries: BTreeMap::new(), violations: Vec::new(), file: File::create(path)? })
    }

    /// Notes something for people.
    pub(crate) fn note(&mut self, what: &str) {
        // A diary that can't be written must not stop the test.
        let _ = writeln!(self.file, "{} {what}", Stamp::now());
    }

    /// Notes that an answer broke a promise.
    pub(crate) fn violation(&mut self, what: String) {
        self.note(&format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// Which answers broke promises.
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// A client begins to ask for a task.
    pub(crate) fn asked(&mut self, name: &str, wish: Wish) {
        self.note(&format!("create {name}: {wish:?}"));
        let entry = Entry {
            name: name.to_owned(),
            wish,
            created: None,
            stop_sent: None,
            stop_answered: None,
            completed_seen: None,
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// It was answered, perhaps once more.
    pub(crate) fn created(&mut self, name: &str, task_id: &str) {
        self.note(&format!("created {name}: {task_id}"));
        let Some(entry) = self.entries.get_mut(name) else { return };
        match &entry.created {
            Some((_, known)) if known != task_id => {
                let what = format!("one request id made two tasks of {name}: {known} and {task_id}");
                self.violation(what);
            }
            Some(_) => {}
            None => entry.created = Some((Stamp::now(), task_id.to_owned())),
        }
    }

    /// Changes what is known of a task.
    pub(crate) fn update(&mut self, name: &str, what: &str, change: impl FnOnce(&mut Entry)) {
        self.note(&format!("{what} {name}"));
        if let Some(entry) = self.entries.get_mut(name) {
            change(entry);
        }
    }

    /// One task.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All tasks.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_that_made_two_tasks_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(&dir.path().join("ledger")).unwrap();
        ledger.asked("web", Wish { runtime: Runtime::Process, lonely: false, lasts: None });
        assert!(!ledger.entries().next().unwrap().is_wanted_service());
        ledger.created("web", "id-1");
        ledger.created("web", "id-1");
        assert!(ledger.violations().is_empty());
        assert!(ledger.entries().next().unwrap().is_wanted_service());
        ledger.created("web", "id-2");
        assert_eq!(ledger.violations().len(), 1);
    }
}
