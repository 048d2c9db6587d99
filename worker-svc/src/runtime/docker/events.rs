//! What the engine tells of containers, over one stream for all of them: which have ended, and that anything has changed at all.
//!
//! The stream may break, and the engine leaves out events for readers that are slow. So at each new begin of the stream, and every
//! [`LOOK_PERIOD`], it is looked which containers run: what is awaited and not among them has ended meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use davit_svc_kit::backoff::Backoff;
use futures::StreamExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::error::unavailable;
use super::{QUICK_TIME, SharedClock, in_time, labels};
use crate::runtime::change_log::ChangeLog;
use crate::runtime::{Error, Owner};

/// Between two looks at which containers run.
const LOOK_PERIOD: Duration = Duration::from_secs(30);
/// Waits before a broken stream is begun anew.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A stream tells also of what happened so long before it: whatever was looked up meanwhile, nothing falls between the two.
const OVERLAP: Duration = Duration::from_secs(1);
/// What happens to containers that anybody here wants to know of.
const ACTIONS: [&str; 5] = ["create", "start", "die", "destroy", "rename"];

/// The stream, and who waits for what it tells. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Events {
    told: Arc<Told>,
    _follower: AbortOnDropHandle<()>,
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    /// By the engine's ids of containers.
    awaited: Mutex<HashMap<String, watch::Sender<Option<Died>>>>,
    changes: Mutex<Changes>,
}

/// To which containers something has happened, by the engine's ids.
#[derive(Debug, Default)]
struct Changes {
    log: ChangeLog<String>,
    /// Whether all that happens is heard now.
    is_heard: bool,
    /// How often the stream has broken.
    breaks: u64,
}

/// An end, as far as the engine tells of it without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Died {
    pub(super) exit_code: i32,
    pub(super) finished_at: Timestamp,
}

/// Waits for the end of one container.
#[derive(Debug)]
pub(super) struct End {
    id: String,
    /// What was told last; `None` inside: that it may have ended. Absent only when it is dropped.
    news: Option<watch::Receiver<Option<Died>>>,
    /// Whether what was told is still to be looked at.
    has_come: bool,
    told: Arc<Told>,
}

impl Events {
    /// Follows what this engine tells of the owner's cluster.
    pub(super) fn follow(engine: Docker, owner: &Owner, clock: SharedClock) -> Self {
        let told = Arc::new(Told::default());
        let follower = follow(engine, labels::cluster_filter(owner), clock, Arc::clone(&told));
        Self { told, _follower: AbortOnDropHandle::new(tokio::spawn(follower)) }
    }

    /// From now on no end of this container is missed.
    pub(super) fn end_of(&self, id: &str) -> End {
        self.told.end_of(id)
    }

    /// A number that grows with whatever happens to the cluster's containers; `None` while the engine does not tell.
    pub(super) fn changes(&self) -> Option<u64> {
        self.told.changes()
    }

    /// How often the stream has broken: whatever is behind the socket may be another engine after that.
    pub(super) fn breaks(&self) -> u64 {
        self.told.changes.lock().breaks
    }

    /// The ids of the containers to which anything has happened since so many changes. `None`: that can't be told.
    pub(super) fn changed_since(&self, number: u64) -> Option<BTreeSet<String>> {
        let changes = self.told.changes.lock();
        changes.log.since(number).filter(|_| changes.is_heard)
    }
}

impl End {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the container has ended, as whoever looks at it can see: `None` is that it runs, again or still. May be
    /// dropped and called again.
    pub(super) async fn seen_by<T, L>(&mut self, look: impl Fn(Option<Died>) -> L) -> Result<T, Error>
    where
        L: Future<Output = Result<Option<T>, Error>>,
    {
        loop {
            let died = self.may_have_come().await;
            if let Some(ended) = look(died).await? {
                return Ok(ended);
            }
            self.has_come = false;
        }
    }

    /// Waits until the container may have ended, with what is told of that.
    async fn may_have_come(&mut self) -> Option<Died> {
        if let Some(news) = &mut self.news
            && (self.has_come || news.changed().await.is_ok())
        {
            self.has_come = true;
            return *news.borrow_and_update();
        }
        // Nobody takes away what is awaited here before this is dropped.
        std::future::pending().await
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut awaited = self.told.awaited.lock();
        // Under the lock: of two that are dropped at once the later one has to see that it is the last.
        self.news = None;
        if awaited.get(&self.id).is_some_and(|news| news.receiver_count() == 0) {
            awaited.remove(&self.id);
        }
    }
}

impl Told {
    fn end_of(self: &Arc<Self>, id: &str) -> End {
        let news = self.awaited.lock().entry(id.to_owned()).or_default().subscribe();
        End { id: id.to_owned(), news: Some(news), has_come: false, told: Arc::clone(self) }
    }

    fn changes(&self) -> Option<u64> {
        let changes = self.changes.lock();
        changes.is_heard.then(|| changes.log.last())
    }

    /// From now on nobody tells.
    fn fall_silent(&self) {
        let mut changes = self.changes.lock();
        changes.is_heard = false;
        changes.breaks += 1;
        changes.log.note_all();
    }

    fn take(&self, event: &EventMessage) {
        if let Some(id) = ended(event)
            && let Some(news) = self.awaited.lock().get(id)
        {
            news.send_replace(died(event));
        }
        let mut changes = self.changes.lock();
        match event.actor.as_ref().and_then(|actor| actor.id.clone()) {
            Some(id) => changes.log.note(id),
            None => changes.log.note_all(),
        }
    }

    /// These run and no others.
    fn take_running(&self, running: &HashSet<String>) {
        let awaited = self.awaited.lock();
        for (_, news) in awaited.iter().filter(|(id, _)| !running.contains(*id)) {
            news.send_replace(None);
        }
        drop(awaited);
        let mut changes = self.changes.lock();
        changes.is_heard = true;
        // What was left out may have been about anything.
        changes.log.note_all();
    }
}

/// The id of the container that this event tells the end of.
fn ended(event: &EventMessage) -> Option<&str> {
    let is_end = matches!(event.action.as_deref(), Some("die" | "destroy"));
    event.actor.as_ref()?.id.as_deref().filter(|_| is_end)
}

/// What this event tells of how a container ended.
fn died(event: &EventMessage) -> Option<Died> {
    let attributes = event.actor.as_ref()?.attributes.as_ref().filter(|_| event.action.as_deref() == Some("die"))?;
    let exit_code = attributes.get("exitCode")?.parse().ok()?;
    let finished_at = Timestamp::from_nanosecond(event.time_nano?.into()).ok()?;
    Some(Died { exit_code, finished_at })
}

/// Never ends by itself.
async fn follow(engine: Docker, filter: HashMap<String, Vec<String>>, clock: SharedClock, told: Arc<Told>) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let began = Instant::now();
        let error = follow_once(&engine, &filter, clock.now(), &told).await;
        told.fall_silent();
        if began.elapsed() >= LOOK_PERIOD {
            backoff.reset();
        }
        tracing::debug!(%error, "the engine tells of no containers; it is asked again");
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Follows one stream until it breaks, and says why it did.
async fn follow_once(engine: &Docker, filter: &HashMap<String, Vec<String>>, now: Timestamp, told: &Told) -> Error {
    let mut wanted = filter.clone();
    wanted.insert("type".to_owned(), vec!["container".to_owned()]);
    wanted.insert("event".to_owned(), ACTIONS.map(str::to_owned).to_vec());
    let since = now.checked_sub(OVERLAP).unwrap_or(now).as_second().to_string();
    let options = EventsOptionsBuilder::new().since(&since).filters(&wanted).build();
    let mut events = std::pin::pin!(engine.events(Some(options)));
    let mut looks = tokio::time::interval(LOOK_PERIOD);
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(Ok(event)) => told.take(&event),
                Some(Err(error)) => return unavailable("follow its events", &error),
                None => {
                    let reason = "the engine closed the connection".to_owned();
                    return Error::Unavailable { action: "follow its events", reason };
                }
            },
            _ = looks.tick() => match running(engine, filter).await {
                Ok(running) => told.take_running(&running),
                Err(error) => return error,
            },
        }
    }
}

/// The engine's ids of the containers that run.
async fn running(engine: &Docker, filter: &HashMap<String, Vec<String>>) -> Result<HashSet<String>, Error> {
    // Without those that don't run, but with those that are paused.
    let options = ListContainersOptionsBuilder::new().filters(filter).build();
    let listing = async { engine.list_containers(Some(options)).await.map_err(|error| unavailable("list", &error)) };
    let found = in_time("list", QUICK_TIME, listing).await?;
    Ok(found.into_iter().filter_map(|summary| summary.id).collect())
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;
    use futures::FutureExt as _;

    use super::*;

    fn event(action: &str, id: &str) -> EventMessage {
        let actor = Some(EventActor { id: Some(id.to_owned()), attributes: None });
        EventMessage { action: Some(action.to_owned()), actor, ..EventMessage::default() }
    }

    #[test]
    fn an_end_wakes_those_who_wait_for_it_and_nobody_else() {
        let told = Arc::new(Told::default());
        let (mut first, mut second, mut other) = (told.end_of("a"), told.end_of("a"), told.end_of("b"));
        told.take(&event("start", "a"));
        assert!(first.may_have_come().now_or_never().is_none());
        told.take(&event("die", "a"));
        assert!(first.may_have_come().now_or_never().is_some());
        assert!(second.may_have_come().now_or_never().is_some());
        assert!(first.may_have_come().now_or_never().is_some(), "nobody has looked at it");
        first.has_come = false;
        assert!(first.may_have_come().now_or_never().is_none(), "it is told once");
        assert!(other.may_have_come().now_or_never().is_none());
        told.take(&event("destroy", "b"));
        assert!(other.may_have_come().now_or_never().is_some());
    }

    #[test]
    fn an_end_is_told_with_its_exit_code_and_time() {
        let told = Arc::new(Told::default());
        let mut end = told.end_of("a");
        let mut die = event("die", "a");
        die.time_nano = Some(7);
        die.actor.as_mut().unwrap().attributes = Some(HashMap::from([("exitCode".to_owned(), "137".to_owned())]));
        told.take(&die);
        let finished_at = Timestamp::from_nanosecond(7).unwrap();
        assert_eq!(end.may_have_come().now_or_never(), Some(Some(Died { exit_code: 137, finished_at })));
        told.take(&event("destroy", "a"));
        assert_eq!(end.may_have_come().now_or_never(), Some(None), "what is gone can't be told from what ended");
    }

    #[test]
    fn an_end_that_nobody_could_look_at_in_time_is_not_missed() {
        let told = Arc::new(Told::default());
        let mut end = told.end_of("a");
        told.take(&event("die", "a"));
        let slow = |_| std::future::pending::<Result<Option<()>, Error>>();
        assert!(end.seen_by(slow).now_or_never().is_none());
        assert!(end.seen_by(|_| async { Ok(Some(())) }).now_or_never().is_some());
    }

    #[test]
    fn what_does_not_run_at_a_look_may_have_ended_unheard() {
        let told = Arc::new(Told::default());
        let (mut runs, mut gone) = (told.end_of("a"), told.end_of("b"));
        told.take_running(&HashSet::from(["a".to_owned()]));
        assert!(runs.may_have_come().now_or_never().is_none());
        assert!(gone.may_have_come().now_or_never().is_some());
    }

    #[test]
    fn nothing_is_kept_for_those_who_wait_no_more() {
        let told = Arc::new(Told::default());
        let (first, mut second) = (told.end_of("a"), told.end_of("a"));
        drop(first);
        told.take(&event("die", "a"));
        assert!(second.may_have_come().now_or_never().is_some(), "the other one still waits");
        drop(second);
        assert!(told.awaited.lock().is_empty());
    }

    #[test]
    fn changes_are_told_while_all_is_heard_and_never_come_to_the_same_number_again() {
        let told = Told::default();
        assert_eq!(told.changes(), None);
        told.take_running(&HashSet::new());
        let looked = told.changes().unwrap();
        told.take(&event("start", "a"));
        let before = told.changes().unwrap();
        assert!(before > looked);
        assert_eq!(told.changes.lock().log.since(looked), Some(BTreeSet::from(["a".to_owned()])));
        told.fall_silent();
        assert_eq!(told.changes(), None);
        told.take_running(&HashSet::new());
        assert!(told.changes().unwrap() > before, "what has happened meanwhile is a change");
        assert_eq!(told.changes.lock().log.since(before), None, "of whatever");
    }
}
