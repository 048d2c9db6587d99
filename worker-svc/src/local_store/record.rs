//! What is kept of one attempt, and its bytes.

use davit_core::id::{Attempt, AttemptKey, TaskId};
use davit_core::placement::RuntimeKind;
use davit_core::state::TaskState;
use davit_core::task::AttemptStatus;
use davit_core::validate::Violations;
use davit_proto::convert::{
    Assignment, KnownSpecs, assignment_from_proto, assignment_to_proto, attempt_report_from_proto,
    attempt_report_to_proto, task_spec_to_proto,
};
use davit_proto::v1;
use jiff::Timestamp;
use prost::Message as _;
use prost::bytes::Bytes;
use uuid::Uuid;

/// Keys of attempts begin with this.
const ATTEMPT_PREFIX: u8 = b'a';

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

/// A status, and whether the manager has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// What was seen.
    pub status: AttemptStatus,
    /// Whether the manager has it durably.
    pub acknowledged: bool,
}

/// How often this worker, or one before it, restarted an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restarts {
    /// In all.
    pub count: u32,
    /// In a row without a healthy stretch.
    pub in_row: u32,
}

/// That a run of an attempt is stopped, or was, because it does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhealthy {
    /// When that run began, by the node's clock.
    pub run: Timestamp,
    /// For people.
    pub reason: String,
}

/// What is kept of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What runs it.
    pub kind: RuntimeKind,
    /// How far it was.
    pub mark: Mark,
    /// What the manager sent, as bytes. Empty: nothing yet, the attempt was found in its runtime.
    pub assignment: Bytes,
    /// Its end, the restart or the change of its readiness that was seen last, or what the manager acknowledged last, whichever is newest.
    pub known: Option<Known>,
    /// How often it was restarted here because the manager was out of reach; the last one may not have come about.
    pub restarts: Restarts,
    /// The last run that was stopped because it did not serve. Boxed, as most have none.
    pub unhealthy: Option<Box<Unhealthy>>,
}

/// The bytes of a [`Record`]. Numbers of fields are never used for another thing; a field that older workers must not
/// overlook needs a new format of the store.
#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    /// 1: docker, 2: process.
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// 1: create, 2: start, 3: stop.
    #[prost(uint32, tag = "2")]
    mark: u32,
    /// `davit.v1.Assignment`
    #[prost(bytes = "bytes", tag = "3")]
    assignment: Bytes,
    #[prost(message, optional, tag = "4")]
    status: Option<v1::AttemptReport>,
    #[prost(bool, tag = "5")]
    acknowledged: bool,
    #[prost(uint32, tag = "6")]
    restarts: u32,
    #[prost(uint32, tag = "7")]
    restarts_in_row: u32,
    /// In nanoseconds after 1970; 0: none was unhealthy.
    #[prost(int64, tag = "8")]
    unhealthy_run: i64,
    #[prost(string, tag = "9")]
    unhealthy_reason: String,
}

impl Record {
    /// Of an attempt that was found, and of which nothing else is known: its start may have been asked for, and be under way.
    #[must_use]
    pub fn found(kind: RuntimeKind) -> Self {
        let restarts = Restarts::default();
        Self { kind, mark: Mark::Start, assignment: Bytes::new(), known: None, restarts, unhealthy: None }
    }

    /// Of an attempt that is assigned.
    #[must_use]
    pub fn assigned(assignment: &Assignment) -> Self {
        let kind = assignment.spec.runtime.kind();
        Self { mark: Mark::Create, assignment: encode(assignment), ..Self::found(kind) }
    }

    /// Takes down what the manager sent of an attempt that was found.
    pub fn set_assignment(&mut self, assignment: &Assignment) {
        self.assignment = encode(assignment);
    }

    /// What the manager sent; `None` if it sent nothing, or what can't be understood any more.
    #[must_use]
    pub fn assignment(&self) -> Option<Assignment> {
        let message = v1::Assignment::decode(self.assignment.clone()).ok()?;
        assignment_from_proto(message, &mut KnownSpecs::new(), "assignment", &mut Violations::new())
    }

    /// Takes down a status, unless a newer one is known.
    pub fn set_known(&mut self, status: &AttemptStatus, acknowledged: bool) {
        if self.known.as_ref().is_none_or(|known| known.status.sequence <= status.sequence) {
            self.known = Some(Known { status: status.clone(), acknowledged });
        }
    }

    /// How often it was restarted for certain.
    #[must_use]
    pub fn restarts_seen(&self) -> u32 {
        self.known.as_ref().map_or(0, |known| known.status.local_restarts)
    }

    /// The restart that may not have come about, and may yet.
    #[must_use]
    pub fn restart_tried(&self) -> Option<Restarts> {
        (self.restarts.count > self.restarts_seen()).then_some(self.restarts)
    }

    /// Why the run that began at this time was stopped, if it was because it did not serve.
    #[must_use]
    pub fn unhealthy_in(&self, run: Option<Timestamp>) -> Option<&Unhealthy> {
        self.unhealthy.as_deref().filter(|unhealthy| run.is_none_or(|run| run == unhealthy.run))
    }

    /// What is known of the run that began at this time, if that is known to have run.
    #[must_use]
    pub fn known_running(&self, run: Timestamp) -> Option<&AttemptStatus> {
        let status = &self.known.as_ref()?.status;
        (status.state == TaskState::Running && status.started_at == Some(run)).then_some(status)
    }

    /// The status of its end, if it has ended.
    #[must_use]
    pub fn end(&self) -> Option<&Known> {
        self.known.as_ref().filter(|known| known.status.state.is_terminal())
    }

    pub(super) fn to_bytes(&self, key: AttemptKey) -> Vec<u8> {
        let kind = match self.kind {
            RuntimeKind::Docker => 1,
            RuntimeKind::Process => 2,
        };
        let mark = match self.mark {
            Mark::Create => 1,
            Mark::Start => 2,
            Mark::Stop => 3,
        };
        Stored {
            kind,
            mark,
            assignment: self.assignment.clone(),
            status: self.known.as_ref().map(|known| attempt_report_to_proto(key.task_id, &known.status)),
            acknowledged: self.known.as_ref().is_some_and(|known| known.acknowledged),
            restarts: self.restarts.count,
            restarts_in_row: self.restarts.in_row,
            unhealthy_run: self.unhealthy.as_ref().map_or(0, |unhealthy| nanos(unhealthy.run)),
            unhealthy_reason: self.unhealthy.as_ref().map(|unhealthy| unhealthy.reason.clone()).unwrap_or_default(),
        }
        .encode_to_vec()
    }

    /// `None`: these are no bytes of a record.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = Stored::decode(bytes).ok()?;
        let kind = match stored.kind {
            1 => RuntimeKind::Docker,
            2 => RuntimeKind::Process,
            _ => return None,
        };
        let mark = match stored.mark {
            1 => Mark::Create,
            2 => Mark::Start,
            3 => Mark::Stop,
            _ => return None,
        };
        let known = match stored.status {
            None => None,
            Some(report) => {
                let (_, status) = attempt_report_from_proto(report, "status", &mut Violations::new())?;
                Some(Known { status, acknowledged: stored.acknowledged })
            }
        };
        let restarts = Restarts { count: stored.restarts, in_row: stored.restarts_in_row };
        let unhealthy = match stored.unhealthy_run {
            0 => None,
            run => {
                let run = Timestamp::from_nanosecond(run.into()).ok()?;
                Some(Box::new(Unhealthy { run, reason: stored.unhealthy_reason }))
            }
        };
        Some(Self { kind, mark, assignment: stored.assignment, known, restarts, unhealthy })
    }
}

/// Those after 1970, for the next two centuries.
fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

fn encode(assignment: &Assignment) -> Bytes {
    let Assignment { key, revision, desired_state, spec, ports, part } = assignment;
    assignment_to_proto(*key, *revision, *desired_state, Some(task_spec_to_proto(spec)), ports, *part)
        .encode_to_vec()
        .into()
}

/// Ordered as the attempts are.
pub(super) fn key_bytes(key: AttemptKey) -> Vec<u8> {
    let mut bytes = vec![ATTEMPT_PREFIX];
    bytes.extend_from_slice(key.task_id.0.as_bytes());
    bytes.extend_from_slice(&key.attempt.0.to_be_bytes());
    bytes
}

/// `None`: another kind of entry.
pub(super) fn key_from_bytes(bytes: &[u8]) -> Option<AttemptKey> {
    let (task_id, attempt) = bytes.strip_prefix(&[ATTEMPT_PREFIX])?.split_at_checked(16)?;
    let task_id = TaskId(Uuid::from_slice(task_id).ok()?);
    Some(AttemptKey { task_id, attempt: Attempt(u32::from_be_bytes(attempt.try_into().ok()?)) })
}
