//! What has to hold, judged from what clients were answered and from the tasks' own evidence. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::{DesiredState, TaskState};

use crate::evidence::{Evidence, Run};
use crate::ledger::Entry;
use crate::stamp::Stamp;

/// How long a task may take to start, and to stop, before that counts.
const START_TIME: Duration = Duration::from_secs(5);

/// What is asked of tasks that end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// They may be under way.
    MayRun,
    /// They have to be through.
    AreDone,
}

/// What is not as it should be once things have settled, task by task.
pub(crate) fn unsettled<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    tasks: &BTreeMap<String, v1::Task>,
    evidence: &Evidence,
    jobs: Jobs,
    now: Stamp,
) -> Vec<String> {
    let mut problems = Vec::new();
    for entry in entries {
        let Some((created, task_id)) = &entry.created else { continue };
        if now.since(*created) < START_TIME {
            continue;
        }
        let name = &entry.name;
        let Some(task) = tasks.get(task_id) else {
            problems.push(format!("{name} is lost: the manager does not know {task_id}"));
            continue;
        };
        let state = task.status.as_ref().map_or(TaskState::Unspecified, v1::TaskStatus::state);
        let reason = task.status.as_ref().map_or("", |status| status.reason.as_str());
        let told = format!("{} ({reason})", state.as_str_name());
        let live = evidence.runs_of(name).filter(|run| run.lives(now)).count();
        match (entry.wish.lasts, entry.stop_sent, entry.stop_answered) {
            (None, None, _) if live != 1 || state != TaskState::Running => {
                problems.push(format!("{name} is to run, is {told} and has {live} live runs"));
            }
            (None, Some(_), Some(stopped)) => {
                let holds = live == 0 && is_terminal(state) && task.desired_state() == DesiredState::Stopped;
                if !holds && now.since(stopped) >= START_TIME {
                    problems.push(format!("{name} was stopped, is {told} and has {live} live runs"));
                }
            }
            (Some(_), _, _) if jobs == Jobs::AreDone => {
                let finished = evidence.runs_of(name).any(|run| run.completed);
                if live != 0 || state != TaskState::Completed || !finished {
                    let finished = if finished { "came" } else { "never came" };
                    problems.push(format!("{name} is {told}, {finished} to its end and has {live} live runs"));
                }
            }
            _ => {}
        }
    }
    problems
}

/// Promises that were broken at any time, however quiet it is now.
pub(crate) fn broken<'a>(entries: impl Iterator<Item = &'a Entry>, evidence: &Evidence) -> Vec<String> {
    let mut problems = Vec::new();
    for entry in entries {
        let name = &entry.name;
        if entry.wish.lonely {
            problems.extend(evidence.doubles(name).iter().map(|(first, second, overlap)| {
                let millis = overlap.as_millis();
                let lives = format!("{} to {}, {} to {}", first.start, first.last, second.start, second.last);
                format!(
                    "{name} is stop_and_replace and ran twice for {millis} ms: {} and {} ({lives})",
                    first.who, second.who
                )
            }));
        }
        // A node that was cut off may still start an attempt that was given up before, as it may run one twice. The manager
        // must not begin a later one.
        if let Some((completed, attempt)) = entry.completed_seen {
            let is_later = |run: &&Run| run.attempt().is_some_and(|later| later > attempt);
            let again = evidence.runs_of(name).filter(|run| run.start > completed).filter(is_later);
            problems.extend(
                again.map(|run| format!("{name} was seen COMPLETED at {completed} and ran again at {}", run.start)),
            );
        }
    }
    problems
}

/// Tasks that the manager knows and nobody asked for, or that it knows twice.
pub(crate) fn unasked<'a>(entries: impl Iterator<Item = &'a Entry>, tasks: &BTreeMap<String, v1::Task>) -> Vec<String> {
    let known: BTreeMap<&str, &str> =
        entries.filter_map(|entry| Some((entry.task_id()?, entry.name.as_str()))).collect();
    let unknown = tasks.values().filter(|task| !known.contains_key(task.task_id.as_str()));
    unknown
        .map(|task| {
            let name = task.spec.as_ref().map_or("", |spec| spec.name.as_str());
            format!("nobody was told of task {} ({name})", task.task_id)
        })
        .collect()
}

/// A run that followed one which a fault had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewRun<'a> {
    /// Its task.
    pub(crate) entry: &'a Entry,
    /// When it began.
    pub(crate) start: Stamp,
}

/// The last new run of each service that ran at `begin` and is still wanted, if it has any.
pub(crate) fn new_runs<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    evidence: &Evidence,
    begin: Stamp,
) -> Vec<NewRun<'a>> {
    let wanted = entries.filter(|entry| entry.is_wanted_service());
    let ran = wanted.filter(|entry| evidence.runs_of(&entry.name).any(|run| run.lived_at(begin)));
    ran.filter_map(|entry| {
        let starts = evidence.runs_of(&entry.name).map(|run| run.start);
        Some(NewRun { entry, start: starts.filter(|start| *start >= begin).max()? })
    })
    .collect()
}

fn is_terminal(state: TaskState) -> bool {
    matches!(state, TaskState::Completed | TaskState::Failed | TaskState::Stopped | TaskState::Lost)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::Wish;
    use crate::witness::Runtime;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            wish: Wish { runtime: Runtime::Process, lonely: true, lasts: None },
            created: Some((Stamp(1000), format!("id-{name}"))),
            stop_sent: None,
            stop_answered: None,
            completed_seen: None,
        }
    }

    fn task(name: &str, state: TaskState, desired: DesiredState) -> (String, v1::Task) {
        let status = v1::TaskStatus { state: state.into(), ..Default::default() };
        let task = v1::Task {
            task_id: format!("id-{name}"),
            status: Some(status),
            desired_state: desired.into(),
            ..Default::default()
        };
        (task.task_id.clone(), task)
    }

    fn evidence(files: &[(&str, &str)]) -> Evidence {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut evidence = Evidence::new(dir.path());
        evidence.refresh().unwrap();
        evidence
    }

    fn problems(entry: &Entry, tasks: &[(String, v1::Task)], evidence: &Evidence) -> Vec<String> {
        let tasks = tasks.iter().cloned().collect();
        unsettled([entry].into_iter(), &tasks, evidence, Jobs::AreDone, Stamp(20_000))
    }

    #[test]
    fn a_task_that_the_manager_forgot_is_lost() {
        let told = problems(&entry("web"), &[], &evidence(&[("web.a", "start 10.00 x\nbeat 20.00 \n")]));
        assert!(told[0].contains("lost"), "{told:?}");
    }

    #[test]
    fn a_service_has_to_run_by_its_own_word_and_the_managers() {
        let running = [task("web", TaskState::Running, DesiredState::Running)];
        let lives = evidence(&[("web.a", "start 10.00 x\nbeat 19.80 \n")]);
        assert!(problems(&entry("web"), &running, &lives).is_empty());
        assert_eq!(problems(&entry("web"), &running, &evidence(&[])).len(), 1);
        let pending = [task("web", TaskState::Pending, DesiredState::Running)];
        assert_eq!(problems(&entry("web"), &pending, &lives).len(), 1);
    }

    #[test]
    fn a_stop_has_to_hold() {
        let stopped = Entry { stop_sent: Some(Stamp(2000)), stop_answered: Some(Stamp(2000)), ..entry("web") };
        let over = [task("web", TaskState::Stopped, DesiredState::Stopped)];
        assert!(problems(&stopped, &over, &evidence(&[])).is_empty());
        let lives = evidence(&[("web.a", "start 10.00 x\nbeat 19.80 \n")]);
        assert_eq!(problems(&stopped, &over, &lives).len(), 1);
    }

    #[test]
    fn a_double_and_a_job_that_ran_again_are_broken_promises() {
        let twice =
            evidence(&[("web.a", "start 10.00 id/1\nbeat 12.00 \n"), ("web.b", "start 11.00 id/2\nbeat 13.00 \n")]);
        assert_eq!(broken([&entry("web")].into_iter(), &twice).len(), 1);
        let mut replaceable = entry("web");
        replaceable.wish.lonely = false;
        assert!(broken([&replaceable].into_iter(), &twice).is_empty());
        let job = Entry { completed_seen: Some((Stamp(10_500), 1)), ..replaceable };
        assert_eq!(broken([&job].into_iter(), &twice).len(), 1);
        let job = Entry { completed_seen: Some((Stamp(10_500), 2)), ..job };
        assert!(broken([&job].into_iter(), &twice).is_empty(), "the second run is the one that completed");
    }

    #[test]
    fn only_new_runs_of_what_ran_at_the_time_count() {
        let runs = evidence(&[
            ("web.a", "start 10.00 x\nbeat 12.00 \n"),
            ("web.b", "start 14.00 y\nbeat 15.00 \n"),
            // Cut off, replaced, and stopped when it was in touch again.
            ("cut.a", "start 10.00 x\nstopped 19.00 \n"),
            ("cut.b", "start 13.00 y\nbeat 15.00 \n"),
            ("new.a", "start 13.00 y\nbeat 15.00 \n"),
        ]);
        let entries = [entry("web"), entry("cut"), entry("new")];
        let found = new_runs(entries.iter(), &runs, Stamp(12_100));
        let found: Vec<_> = found.iter().map(|run| (run.entry.name.as_str(), run.start)).collect();
        assert_eq!(found, [("web", Stamp(14_000)), ("cut", Stamp(13_000))]);
    }
}
