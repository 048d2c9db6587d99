//! How it went, once all tasks have ended.

use davit_proto::v1;

use crate::output::{has_ended, short_id, state_of, task_name, task_state};

const NAMED_TASKS: usize = 5;

/// One task's own exit code; of several, whether all completed.
pub(super) fn exit_code(tasks: &[v1::Task]) -> u8 {
    let failed = u8::from(tasks.iter().any(|task| state_of(task) != v1::TaskState::Completed));
    match tasks {
        [task] => {
            let code = task.status.as_ref().and_then(|status| status.exit_code);
            // A task that could not start has none, and 0 would hide that it did not complete.
            code.and_then(|code| u8::try_from(code & 0xff).ok()).map_or(failed, |code| code.max(failed))
        }
        _ => failed,
    }
}

/// What a person is told at the end. Nothing when one task completed.
pub(super) fn summary(tasks: &[v1::Task]) -> String {
    let failed: Vec<&v1::Task> = tasks.iter().filter(|task| state_of(task) != v1::TaskState::Completed).collect();
    let mut text = match (tasks, failed.len()) {
        ([task], 0) => format!("{} completed", task_name(task)),
        (all, 0) => format!("all {} tasks completed", all.len()),
        ([task], _) if is_gone(task) => format!("{} was deleted before it ended", task_name(task)),
        ([task], _) => format!("{} ended {}", task_name(task), task_state(task)),
        (all, count) => format!("{count} of {} tasks did not complete", all.len()),
    };
    for task in failed.iter().filter(|task| !is_gone(task) && has_started(task)).take(NAMED_TASKS) {
        text.push_str(&format!("\n  what it wrote: davit logs {}", short_id(&task.task_id)));
    }
    text
}

/// What never started wrote nothing.
fn has_started(task: &v1::Task) -> bool {
    task.status.as_ref().is_some_and(|status| status.start_time.is_some())
}

/// Nothing is waited for any more, though it was not seen to end.
fn is_gone(task: &v1::Task) -> bool {
    !has_ended(state_of(task))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{failed_task, task};

    fn completed() -> v1::Task {
        let mut task = task(1, "batch", v1::TaskState::Completed);
        task.status.get_or_insert_default().exit_code = Some(0);
        task
    }

    fn with_code(state: v1::TaskState, code: Option<i32>) -> v1::Task {
        let mut task = task(1, "batch", state);
        task.status.get_or_insert_default().exit_code = code;
        task
    }

    #[test]
    fn one_task_ends_with_its_own_code() {
        assert_eq!(exit_code(&[completed()]), 0);
        assert_eq!(exit_code(&[failed_task()]), 3);
        assert_eq!(exit_code(&[with_code(v1::TaskState::Stopped, Some(143))]), 143);
        assert_eq!(exit_code(&[with_code(v1::TaskState::Failed, None)]), 1);
        assert_eq!(exit_code(&[with_code(v1::TaskState::Lost, Some(0))]), 1);
    }

    #[test]
    fn of_several_any_that_did_not_complete_counts() {
        assert_eq!(exit_code(&[completed(), completed()]), 0);
        assert_eq!(exit_code(&[completed(), failed_task()]), 1);
    }

    #[test]
    fn a_task_that_never_started_has_no_logs_to_look_at() {
        assert_eq!(summary(&[with_code(v1::TaskState::Failed, None)]), "batch ended FAILED");
    }

    #[test]
    fn a_task_that_was_deleted_did_not_complete() {
        let gone = task(1, "web", v1::TaskState::Running);
        assert_eq!(exit_code(std::slice::from_ref(&gone)), 1);
        assert_eq!(summary(&[gone]), "web was deleted before it ended");
    }

    #[test]
    fn failures_say_where_to_look() {
        assert_eq!(summary(&[completed()]), "batch completed");
        assert_eq!(summary(&[failed_task()]), "batch ended FAILED\n  what it wrote: davit logs 000000000002");
        assert_eq!(
            summary(&[completed(), failed_task()]),
            "1 of 2 tasks did not complete\n  what it wrote: davit logs 000000000002"
        );
    }
}
