//! Outputs of attempts, and whose they are. Pure.

use davit_proto::v1;

use crate::output::{has_ended, state_of};

/// What an attempt writes or wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Written {
    pub(in crate::commands) task_id: String,
    pub(in crate::commands) attempt: u32,
    /// Whose it is, for people: `web.1`, `index 7`. Other attempts are of it too, and tasks that had this place before.
    pub(in crate::commands) place: String,
    /// How far the attempt was when it was looked at.
    pub(in crate::commands) stage: Stage,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Stage {
    /// It may write something once it is on a node and has begun.
    Waits,
    /// It may write something now.
    Writes,
    /// It writes nothing any more.
    Ended,
}

/// What was found at a look.
#[derive(Debug, Default)]
pub(in crate::commands) struct Found {
    /// The outputs that there are, those of one place oldest first.
    pub(in crate::commands) outputs: Vec<Written>,
    /// Several places write at one time, so each line says whose it is.
    pub(in crate::commands) several: bool,
    /// Nothing new comes.
    pub(in crate::commands) has_ended: bool,
}

impl Written {
    /// The outputs of a task, oldest first: those of attempts that the manager still knows of, and that may have written something.
    pub(in crate::commands) fn of_task(task: &v1::Task, place: &str) -> Vec<Self> {
        let on_a_node = |past: &&v1::TaskAttempt| past.status.as_ref().is_some_and(|status| !status.node_id.is_empty());
        let past = task.past_attempts.iter().filter(on_a_node).map(|past| (past.attempt, Stage::Ended));
        let written =
            |(attempt, stage)| Self { task_id: task.task_id.clone(), attempt, place: place.to_owned(), stage };
        past.chain([(task.attempt, stage(task))]).map(written).collect()
    }

    /// Tells people whose it is. Most have one attempt.
    pub(in crate::commands) fn label(&self) -> String {
        match self.attempt {
            0 | 1 => self.place.clone(),
            attempt => format!("{}, attempt {attempt}", self.place),
        }
    }
}

fn stage(task: &v1::Task) -> Stage {
    let is_on_a_node = task.status.as_ref().is_some_and(|status| !status.node_id.is_empty());
    match state_of(task) {
        state if has_ended(state) => Stage::Ended,
        v1::TaskState::Running | v1::TaskState::Stopping if is_on_a_node => Stage::Writes,
        _ => Stage::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{failed_task, node_id, running_task, task};

    #[test]
    fn attempts_are_told_oldest_first_and_only_those_that_may_have_written_something() {
        let of = |task: &v1::Task| {
            let outputs = Written::of_task(task, "web.1");
            outputs.into_iter().map(|written| (written.label(), written.stage)).collect::<Vec<_>>()
        };
        let one = |label: &str, stage| (label.to_owned(), stage);
        assert_eq!(of(&running_task()), [one("web.1", Stage::Writes)]);
        let twice = [one("web.1", Stage::Ended), one("web.1, attempt 2", Stage::Ended)];
        assert_eq!(of(&failed_task()), twice);
        let mut again = failed_task();
        again.past_attempts[0].status.get_or_insert_default().node_id.clear();
        let status = again.status.get_or_insert_default();
        (status.state, status.node_id) = (v1::TaskState::Pending.into(), String::new());
        assert_eq!(of(&again), [one("web.1, attempt 2", Stage::Waits)], "the first was on no node");
        let mut preparing = task(3, "web", v1::TaskState::Preparing);
        preparing.status.get_or_insert_default().node_id = node_id(1);
        assert_eq!(of(&preparing), [one("web.1", Stage::Waits)], "its image is being pulled");
    }
}
