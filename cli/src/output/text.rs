//! Parts of messages as short texts for people.

use davit_core::words::counted;
use davit_proto::v1;
use jiff::Timestamp;

use super::style::{Palette, Tone, task_tone};

/// Ids of tasks created together start alike; their last digits are random.
const SHORT_ID_CHARS: usize = 12;
/// `sha256:` and 12 digits.
const SHORT_DIGEST_CHARS: usize = 19;

/// The part of an id that people see and type.
#[must_use]
pub fn short_id(id: &str) -> &str {
    id.char_indices().rev().nth(SHORT_ID_CHARS - 1).map_or(id, |(start, _)| &id[start..])
}

/// The part of a digest that tells versions apart.
#[must_use]
pub(super) fn short_digest(digest: &str) -> String {
    digest.chars().take(SHORT_DIGEST_CHARS).collect()
}

/// A time of a message; `None` when it is unset or no time.
#[must_use]
pub fn from_proto_time(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
}

/// A span in its greatest unit, rounded down: `3s`, `5m`, `2h`, `40d`. Clocks that differ a little make no negative ages.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// An amount of bytes in the unit that suits it.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    if unit == "B" || amount >= 100.0 || amount.fract() < 0.05 {
        format!("{amount:.0} {unit}")
    } else {
        format!("{amount:.1} {unit}")
    }
}

/// A task's state.
#[must_use]
pub fn state_of(task: &v1::Task) -> v1::TaskState {
    task.status.as_ref().map_or(v1::TaskState::Unspecified, v1::TaskStatus::state)
}

/// A state's name as people read it.
#[must_use]
pub fn state_short_name(state: v1::TaskState) -> &'static str {
    let name = state.as_str_name();
    name.strip_prefix("TASK_STATE_").unwrap_or(name)
}

/// The name of a task's state.
#[must_use]
pub fn task_state(task: &v1::Task) -> &'static str {
    state_short_name(state_of(task))
}

/// The same, with whether it serves where that is not to be expected.
#[must_use]
pub(super) fn task_state_and_health(task: &v1::Task) -> &'static str {
    if is_not_ready(task) { "RUNNING (not ready)" } else { task_state(task) }
}

/// Whether it runs and does not serve.
#[must_use]
pub(super) fn is_not_ready(task: &v1::Task) -> bool {
    task.status.as_ref().is_some_and(|status| status.state() == v1::TaskState::Running && !status.ready)
}

/// Whether an attempt with this state has ended.
#[must_use]
pub fn has_ended(state: v1::TaskState) -> bool {
    match state {
        v1::TaskState::Completed | v1::TaskState::Failed | v1::TaskState::Stopped | v1::TaskState::Lost => true,
        v1::TaskState::Unspecified
        | v1::TaskState::Pending
        | v1::TaskState::Scheduled
        | v1::TaskState::Preparing
        | v1::TaskState::Running
        | v1::TaskState::Stopping => false,
    }
}

/// A task's name.
#[must_use]
pub fn task_name(task: &v1::Task) -> &str {
    task.spec.as_ref().map_or("", |spec| &spec.name)
}

/// A node's state, with whether it takes new tasks.
#[must_use]
pub fn node_state(node: &v1::Node) -> String {
    let name = node.state().as_str_name();
    let name = name.strip_prefix("NODE_STATE_").unwrap_or(name);
    match node.drain.as_ref().map(v1::NodeDrain::state) {
        Some(v1::DrainState::Drained) => format!("{name}, DRAINED"),
        Some(v1::DrainState::Draining | v1::DrainState::Unspecified) => format!("{name}, DRAINING"),
        None if node.cordoned => format!("{name}, cordoned"),
        None => name.to_owned(),
    }
}

/// How far the drain of a node is.
#[must_use]
pub fn drain_line(drain: &v1::NodeDrain) -> String {
    let mut parts = vec![format!("{} moved", drain.moved_count)];
    let stuck = if drain.stuck_count == 1 { "of them fits nowhere else now" } else { "of them fit nowhere else now" };
    let counts = [
        (u64::from(drain.moving_count), "moving"),
        (u64::from(drain.waiting_count), "to move"),
        (drain.stuck_count, stuck),
        (drain.forced_count, "stopped at the deadline"),
        (drain.lost_count, "LOST with it"),
    ];
    parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    let state = if drain.state() == v1::DrainState::Drained { "DRAINED" } else { "DRAINING" };
    let mut line = format!("{state}: {}", parts.join(", "));
    if let Some(stuck) = drain.stuck_tasks.first() {
        let reason = stuck.reason.replace(['\n', '\r'], " ");
        line.push_str(&format!("; {}: {reason}", short_id(&stuck.task_id)));
    }
    line
}

/// What room on a node is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Promise<'a> {
    /// The task is sent there; else others are stopped there for it.
    pub(super) is_move: bool,
    /// What is to be said beside that and the node. May be empty.
    pub(super) why: &'a str,
}

/// Reads the manager's words: there are no others.
pub(super) fn promise<'a>(claim: &'a v1::PlacementClaim, node_name: &str) -> Promise<'a> {
    match claim.reason.strip_prefix("moved to ") {
        Some(moved) => Promise { is_move: true, why: moved.split_once(": ").map_or("", |(_, why)| why) },
        None => {
            let why = claim.reason.strip_suffix(node_name).and_then(|before| before.strip_suffix(" on "));
            Promise { is_move: false, why: why.unwrap_or(&claim.reason) }
        }
    }
}

/// Published ports as given: `32768->80/tcp`.
#[must_use]
pub fn ports(status: &v1::TaskStatus) -> String {
    let one = |port: &v1::PortBinding| {
        let protocol = if port.protocol() == v1::PortProtocol::Udp { "udp" } else { "tcp" };
        format!("{}->{}/{protocol}", port.host_port, port.container_port)
    };
    status.ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What a person wants to know of an attempt besides its state: why it waits or failed, how far its pull is.
#[must_use]
pub fn detail(status: &v1::TaskStatus, now: Timestamp) -> String {
    let mut parts = Vec::new();
    if let Some(code) = status.exit_code.filter(|code| *code != 0) {
        // Often the reason says so already.
        if !status.reason.contains(&format!("code {code}")) {
            parts.push(format!("exit code {code}"));
        }
    }
    if status.oom_killed && !status.reason.contains("memory") {
        parts.push("killed for its memory".to_owned());
    }
    if let Some(pull) = status.pull_progress.as_ref().filter(|_| status.state() == v1::TaskState::Preparing) {
        parts.push(pull_progress(pull));
    }
    let reason = status.reason.trim();
    if !reason.is_empty() {
        parts.push(reason.to_owned());
    }
    let next = from_proto_time(status.next_attempt_time.as_ref());
    // What is due within a second is under way for people.
    let due_later = |next: &Timestamp| next.duration_since(now).as_secs() > 0;
    if let Some(next) = next.filter(|next| status.state() == v1::TaskState::Pending && due_later(next)) {
        parts.push(format!("due in {}", age(now, next)));
    }
    parts.join("; ")
}

fn pull_progress(pull: &v1::PullProgress) -> String {
    let bytes = match pull.total_bytes {
        0 => human_bytes(pull.downloaded_bytes),
        total => format!("{} of {}", human_bytes(pull.downloaded_bytes), human_bytes(total)),
    };
    let layers = counted(pull.layers_total.into(), "layer", "layers");
    format!("pulls its image: {bytes}, {} of {layers}", pull.layers_done)
}

/// An event as one line.
#[must_use]
pub fn event_line(event: &v1::Event, palette: Palette) -> String {
    let time = from_proto_time(event.time.as_ref()).map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"));
    let kind = event.r#type().as_str_name();
    let kind = kind.strip_prefix("EVENT_TYPE_").unwrap_or(kind);
    let (object, tone) = match &event.object {
        Some(v1::event::Object::Task(task)) => {
            (format!("task {} {}", short_id(&task.task_id), task_name(task)), task_tone(state_of(task)))
        }
        Some(v1::event::Object::Node(node)) => (format!("node {}", node.name), Tone::Plain),
        Some(v1::event::Object::Config(config)) => {
            let kind = if config.kind() == v1::ConfigKind::Secret { "secret" } else { "config" };
            (format!("{kind} {}", config.name), Tone::Plain)
        }
        Some(v1::event::Object::Deployment(deployment)) => {
            let name = deployment.spec.as_ref().map(|spec| spec.name.as_str()).unwrap_or_default();
            (format!("deployment {name}"), Tone::Plain)
        }
        Some(v1::event::Object::Job(job)) => {
            let name = job.spec.as_ref().map(|spec| spec.name.as_str()).unwrap_or_default();
            (format!("job {name}"), Tone::Plain)
        }
        None => ("-".to_owned(), Tone::Plain),
    };
    let kind = palette.paint(tone, &format!("{kind:<18}"));
    let (time, revision) = (palette.paint(Tone::Faint, &time), event.revision);
    format!("{time}  {revision:>6}  {kind}  {object}: {}", event.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{NOW, node_id, running_task, seconds_before};

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in
            [(-5, "0s"), (3, "3s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86_399, "23h"), (3_456_000, "40d")]
        {
            assert_eq!(age(seconds_before(seconds), NOW), text);
        }
    }

    #[test]
    fn bytes_have_the_unit_that_suits_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1_572_864, "1.5 MiB"),
            (268_435_456, "256 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn short_ids_are_the_ends_of_ids() {
        assert_eq!(short_id("0193a5c0-1c1e-7d3a-9a53-0f5be2f0a111"), "0f5be2f0a111");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(short_id(""), "");
    }

    #[test]
    fn a_detail_says_what_matters_in_each_state() {
        let of = |status: v1::TaskStatus| detail(&status, NOW);
        let failed = v1::TaskStatus {
            state: v1::TaskState::Failed.into(),
            exit_code: Some(137),
            oom_killed: true,
            ..Default::default()
        };
        assert_eq!(of(failed.clone()), "exit code 137; killed for its memory");
        assert_eq!(
            of(v1::TaskStatus { reason: "exit code 137, out of memory".into(), ..failed }),
            "exit code 137, out of memory"
        );
        let pull =
            v1::PullProgress { downloaded_bytes: 12 << 20, total_bytes: 40 << 20, layers_done: 2, layers_total: 5 };
        let preparing =
            v1::TaskStatus { state: v1::TaskState::Preparing.into(), pull_progress: Some(pull), ..Default::default() };
        assert_eq!(of(preparing), "pulls its image: 12 MiB of 40 MiB, 2 of 5 layers");
        let soon = prost_types::Timestamp { seconds: NOW.as_second() + 7, nanos: 0 };
        let pending = v1::TaskStatus {
            state: v1::TaskState::Pending.into(),
            reason: "it failed".into(),
            next_attempt_time: Some(soon),
            ..Default::default()
        };
        assert_eq!(of(pending), "it failed; due in 7s");
    }

    #[test]
    fn a_drain_is_told_by_what_is_done_and_what_is_left() {
        let mut node = crate::output::test_support::node(1, "one");
        (node.cordoned, node.state) = (true, v1::NodeState::Ready.into());
        assert_eq!(node_state(&node), "READY, cordoned");
        let stuck = v1::StuckTask { task_id: running_task().task_id, reason: "all\nis full".into() };
        let mut drain = v1::NodeDrain {
            state: v1::DrainState::Draining.into(),
            moved_count: 3,
            moving_count: 2,
            waiting_count: 4,
            stuck_count: 1,
            stuck_tasks: vec![stuck],
            ..Default::default()
        };
        assert_eq!(
            drain_line(&drain),
            "DRAINING: 3 moved, 2 moving, 4 to move, 1 of them fits nowhere else now; 000000000001: all is full"
        );
        node.drain = Some(drain.clone());
        assert_eq!(node_state(&node), "READY, DRAINING");
        drain = v1::NodeDrain { state: v1::DrainState::Drained.into(), moved_count: 9, ..Default::default() };
        assert_eq!(drain_line(&drain), "DRAINED: 9 moved");
        let lost = v1::NodeDrain { lost_count: 2, forced_count: 1, ..drain.clone() };
        assert_eq!(drain_line(&lost), "DRAINED: 9 moved, 1 stopped at the deadline, 2 LOST with it");
        node.drain = Some(drain);
        assert_eq!(node_state(&node), "READY, DRAINED");
    }

    #[test]
    fn a_promise_is_told_without_what_is_said_beside_it() {
        let read = |reason: &str| {
            let claim = v1::PlacementClaim { node_id: node_id(1), reason: reason.into() };
            let Promise { is_move, why } = promise(&claim, "n1");
            (is_move, why.to_owned())
        };
        assert_eq!(read("moved to n1"), (true, String::new()));
        assert_eq!(read("moved to n1: evens out: soon"), (true, "evens out: soon".into()));
        assert_eq!(read("2 tasks are stopped for it on n1"), (false, "2 tasks are stopped for it".into()));
        assert_eq!(read("promised"), (false, "promised".into()));
    }

    #[test]
    fn an_event_is_a_line() {
        let event = v1::Event {
            revision: 42,
            time: Some(prost_types::Timestamp { seconds: NOW.as_second(), nanos: 120_000_000 }),
            r#type: v1::EventType::TaskStateChanged.into(),
            message: "RUNNING on one".into(),
            object: Some(v1::event::Object::Task(running_task())),
        };
        insta::assert_snapshot!(
            event_line(&event, Palette::new(false)),
            @"2026-11-25T12:00:00.120Z      42  TASK_STATE_CHANGED  task 000000000001 web: RUNNING on one"
        );
    }
}
