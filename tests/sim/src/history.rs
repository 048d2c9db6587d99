//! What happened, in simulated time: the only thing that the checks go by. The same seed gives the same history to the
//! letter, which one hash tells.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{AttemptKey, TaskId};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::net::Host;
use crate::workload::{Call, Outcome};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A client was answered, or gave up. `durable`: whether the disk held what it names at that moment.
    Answered {
        /// Which of the client's calls.
        call: Call,
        /// What it was told.
        outcome: Outcome,
        /// Whether the synced part of the manager's disk held the tasks, or the version of a deployment, that the answer names.
        durable: bool,
    },
    /// An engine started a container.
    Started {
        /// Where.
        host: Host,
        /// Which.
        key: AttemptKey,
    },
    /// An engine started a container once more that had ended: its worker was cut off.
    Restarted {
        /// Where.
        host: Host,
        /// Which.
        key: AttemptKey,
    },
    /// A container ended.
    Ended {
        /// Where.
        host: Host,
        /// Which.
        key: AttemptKey,
        /// How.
        exit_code: i32,
    },
    /// An engine begins or ceases to be in trouble.
    Engine {
        /// Where.
        host: Host,
        /// Which.
        is_down: bool,
    },
    /// A copy of a machine's data directory begins or ceases to be there, on a machine of its own.
    Cloned {
        /// Which machine's.
        of: Host,
        /// Which.
        is_there: bool,
    },
    /// The manager's disk made a batch durable.
    Synced {
        /// The last revision of the batch.
        revision: u64,
    },
    /// A fault was injected or ended.
    Fault(String),
    /// A service ended although nobody asked it to.
    Broke(String),
    /// A part of a run begins.
    Phase(&'static str),
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Since the begin of the run.
    pub at: Duration,
    /// What happened.
    pub event: Event,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.3} ", self.at.as_secs_f64() * 1000.0)?;
        match &self.event {
            Event::Answered { call, outcome, durable } => {
                write!(f, "client   {call:?} -> {outcome:?}, durable {durable}")
            }
            Event::Started { host, key } => write!(f, "engine   {host} started {key}"),
            Event::Restarted { host, key } => write!(f, "engine   {host} restarted {key}"),
            Event::Ended { host, key, exit_code } => write!(f, "engine   {host} ended {key} with {exit_code}"),
            Event::Engine { host, is_down } => write!(f, "engine   of {host} is in trouble: {is_down}"),
            Event::Cloned { of, is_there } => write!(f, "clone    of {of} is there: {is_there}"),
            Event::Synced { revision } => write!(f, "disk     synced up to revision {revision}"),
            Event::Fault(what) => write!(f, "fault    {what}"),
            Event::Broke(what) => write!(f, "BROKE    {what}"),
            Event::Phase(name) => write!(f, "phase    {name}"),
        }
    }
}

/// Collects what happens. Clones share it.
#[derive(Debug, Clone)]
pub struct History {
    began: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
    trace: bool,
}

impl History {
    /// An empty one, which prints every event as it comes if `trace` is set.
    #[must_use]
    pub fn new(trace: bool) -> Self {
        Self { began: Instant::now(), entries: Arc::default(), trace }
    }

    /// Time since the begin of the run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes down what happened now.
    pub fn note(&self, event: Event) {
        let entry = Entry { at: self.elapsed(), event };
        if self.trace {
            #[expect(clippy::print_stdout, reason = "it is what `--trace` asks for")]
            {
                println!("{entry}");
            }
        }
        self.entries.lock().push(entry);
    }

    /// All that happened, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().clone()
    }

    /// One number for all that happened.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for entry in self.entries.lock().iter() {
            entry.to_string().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Tasks that some answer named as created.
    #[must_use]
    pub fn created(&self) -> Vec<TaskId> {
        let entries = self.entries.lock();
        let outcomes = entries.iter().filter_map(|entry| match &entry.event {
            Event::Answered { outcome: Outcome::Created(task_ids), .. } => Some(task_ids.clone()),
            _ => None,
        });
        outcomes.flatten().collect()
    }
}
