//! What happens to some tasks, from now until all of them have ended, or are where they are to be.

use std::collections::{BTreeMap, HashMap};

use davit_proto::v1;
use davit_proto::v1::watch_events_response::Message;
use futures::StreamExt as _;
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::client::{Manager, backoff};
use crate::error::Error;
use crate::output::{has_ended, state_of};
use crate::retry::{Tries, may_pass};

/// Where the watched tasks are.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Each task as last seen.
    pub(crate) tasks: BTreeMap<String, v1::Task>,
    /// Those that nothing more is waited for: they have ended for good, or are where they are to be.
    ended: HashMap<String, End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ended,
    Deleted,
    Settled,
}

impl Watched {
    /// Whether all have ended.
    fn is_over(&self) -> bool {
        self.ended.len() == self.tasks.len()
    }

    /// Whether a task was deleted while it was watched.
    pub(crate) fn is_deleted(&self, task_id: &str) -> bool {
        self.ended.get(task_id) == Some(&End::Deleted)
    }

    fn put(&mut self, task: v1::Task) {
        self.tasks.insert(task.task_id.clone(), task);
    }

    /// Whether an event's task is watched, and the event newer than what is known of it.
    fn is_news(&self, task: &v1::Task) -> bool {
        self.tasks.get(&task.task_id).is_some_and(|known| known.revision < task.revision)
    }
}

/// Waits until tasks have ended, and shows each change.
///
/// # Errors
/// When the manager stays away, or refuses.
pub(crate) async fn until_ended(
    manager: &Manager,
    task_ids: Vec<String>,
    show: impl FnMut(&v1::Task),
) -> Result<Watched, Error> {
    until(manager, task_ids, |_| false, show).await
}

/// Waits until tasks are where they are to be, or have ended, and shows each change.
///
/// # Errors
/// When the manager stays away, or refuses.
pub(crate) async fn until(
    manager: &Manager,
    task_ids: Vec<String>,
    settled: impl Fn(&v1::Task) -> bool,
    mut show: impl FnMut(&v1::Task),
) -> Result<Watched, Error> {
    let mut watched = Watched::default();
    for task_id in task_ids {
        let task = v1::Task { task_id: task_id.clone(), ..Default::default() };
        watched.tasks.insert(task_id, task);
    }
    let mut tries = Tries::new(backoff());
    loop {
        let mut progressed = false;
        let step = watch_once(manager, &mut watched, &settled, &mut show, &mut progressed).await;
        if progressed {
            tries.reset();
        }
        match step {
            Ok(()) => return Ok(watched),
            Err(Broken::ForNow(error)) => match tries.next_wait(error.status(), Instant::now()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            },
            Err(Broken::ForGood(error)) => return Err(error),
        }
    }
}

enum Broken {
    /// It may go better at the next try.
    ForNow(Error),
    ForGood(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        match &error {
            Error::Unreachable { .. } => Self::ForNow(error),
            Error::Refused { status } if may_pass(status) || is_behind(status.code()) => Self::ForNow(error),
            _ => Self::ForGood(error),
        }
    }
}

/// The watch was too slow, or the log has moved on: listing anew mends it.
fn is_behind(code: Code) -> bool {
    matches!(code, Code::ResourceExhausted | Code::OutOfRange)
}

async fn watch_once(
    manager: &Manager,
    watched: &mut Watched,
    settled: &impl Fn(&v1::Task) -> bool,
    show: &mut impl FnMut(&v1::Task),
    progressed: &mut bool,
) -> Result<(), Broken> {
    let revision = refresh(manager, watched, settled, show).await?;
    if watched.is_over() {
        return Ok(());
    }
    let only = if watched.tasks.len() == 1 { watched.tasks.keys().next().cloned() } else { None };
    let filter = v1::EventFilter { task_id: only.unwrap_or_default(), ..Default::default() };
    let request = v1::WatchEventsRequest { after_revision: Some(revision), filter: Some(filter) };
    // Without a deadline: it lasts as long as the tasks do.
    let mut events = manager
        .events()
        .watch_events(Request::new(request))
        .await
        .map_err(|status| manager.error(status))?
        .into_inner();
    while let Some(message) = events.next().await {
        let message = message.map_err(|status| manager.error(status))?.message;
        *progressed = true;
        let Some(Message::Event(event)) = message else { continue };
        let deleted = event.r#type() == v1::EventType::TaskDeleted;
        let Some(v1::event::Object::Task(task)) = event.object else { continue };
        if deleted {
            if watched.tasks.contains_key(&task.task_id) {
                watched.ended.insert(task.task_id, End::Deleted);
            }
        } else if watched.is_news(&task) {
            show(&task);
            let (task_id, state) = (task.task_id.clone(), state_of(&task));
            let is_settled = settled(&task);
            watched.put(task);
            // The end of an attempt is an event of its own, also when another attempt follows right after.
            if has_ended(state) {
                confirm(manager, watched, &task_id, settled, show).await?;
            } else if is_settled {
                watched.ended.insert(task_id, End::Settled);
            }
        }
        if watched.is_over() {
            return Ok(());
        }
    }
    Err(Broken::ForNow(Error::failed("the manager ended the watch")))
}

/// Looks whether a task stays ended.
async fn confirm(
    manager: &Manager,
    watched: &mut Watched,
    task_id: &str,
    settled: &impl Fn(&v1::Task) -> bool,
    show: &mut impl FnMut(&v1::Task),
) -> Result<(), Error> {
    match manager.get_task(task_id).await {
        Ok(task) => see(watched, task, settled, show),
        Err(error) if error.code() == Some(Code::NotFound) => {
            watched.ended.insert(task_id.to_owned(), End::Deleted);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Takes in a task as it is now, which is never in between two attempts.
fn see(watched: &mut Watched, task: v1::Task, settled: &impl Fn(&v1::Task) -> bool, show: &mut impl FnMut(&v1::Task)) {
    if has_ended(state_of(&task)) {
        watched.ended.insert(task.task_id.clone(), End::Ended);
    } else if settled(&task) {
        watched.ended.insert(task.task_id.clone(), End::Settled);
    } else {
        watched.ended.remove(&task.task_id);
    }
    if watched.is_news(&task) {
        show(&task);
        watched.put(task);
    }
}

/// Takes in all tasks as they are now, and tells the revision to watch from.
async fn refresh(
    manager: &Manager,
    watched: &mut Watched,
    settled: &impl Fn(&v1::Task) -> bool,
    show: &mut impl FnMut(&v1::Task),
) -> Result<u64, Error> {
    let mut filter = v1::TaskFilter::default();
    if watched.tasks.len() == 1 {
        filter.id_part = watched.tasks.keys().next().cloned().unwrap_or_default();
    }
    let (tasks, revision) = manager.list_tasks(filter).await?;
    let mut seen: HashMap<String, v1::Task> = tasks.into_iter().map(|task| (task.task_id.clone(), task)).collect();
    let task_ids: Vec<String> = watched.tasks.keys().cloned().collect();
    for task_id in task_ids {
        match seen.remove(&task_id) {
            Some(task) => see(watched, task, settled, show),
            None => {
                watched.ended.insert(task_id, End::Deleted);
            }
        }
    }
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::task;

    fn at(revision: u64, state: v1::TaskState) -> v1::Task {
        v1::Task { revision, ..task(1, "web", state) }
    }

    fn watching() -> Watched {
        let mut watched = Watched::default();
        watched.put(v1::Task { task_id: at(0, v1::TaskState::Pending).task_id, ..Default::default() });
        watched
    }

    #[test]
    fn a_change_is_shown_once() {
        let mut watched = watching();
        let mut shown = 0;
        for revision in [5, 5, 3] {
            see(&mut watched, at(revision, v1::TaskState::Running), &|_| false, &mut |_| shown += 1);
        }
        assert_eq!(shown, 1);
        assert!(!watched.is_over());
    }

    #[test]
    fn a_task_that_starts_anew_has_not_ended() {
        let mut watched = watching();
        see(&mut watched, at(5, v1::TaskState::Failed), &|_| false, &mut |_| {});
        assert!(watched.is_over());
        see(&mut watched, at(6, v1::TaskState::Pending), &|_| false, &mut |_| {});
        assert!(!watched.is_over());
    }

    #[test]
    fn a_task_that_is_where_it_is_to_be_is_waited_for_no_longer() {
        let mut watched = watching();
        let runs = |task: &v1::Task| state_of(task) == v1::TaskState::Running;
        see(&mut watched, at(5, v1::TaskState::Stopping), &runs, &mut |_| {});
        assert!(!watched.is_over());
        see(&mut watched, at(6, v1::TaskState::Running), &runs, &mut |_| {});
        assert!(watched.is_over());
    }

    #[test]
    fn tasks_of_others_are_no_news() {
        assert!(!watching().is_news(&v1::Task { revision: 9, ..task(2, "db", v1::TaskState::Running) }));
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        assert!(matches!(Broken::from(Error::failed("x")), Broken::ForGood(_)));
        let refused = |code| Error::Refused { status: Box::new(tonic::Status::new(code, "x")) };
        assert!(matches!(Broken::from(refused(Code::OutOfRange)), Broken::ForNow(_)));
        assert!(matches!(Broken::from(refused(Code::PermissionDenied)), Broken::ForGood(_)));
    }
}
