//! The contact with each node's worker: when it was heard, its open session, what it measured last. Lives in memory only and
//! is never durable; after a restart workers register anew.

mod lookouts;
mod measurements;
mod registrations;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{NodeId, SessionId};
use davit_core::node::NodeStats;
use davit_proto::convert::LONGEST_AWAY;
use imbl::OrdSet;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use self::lookouts::Lookouts;
use self::measurements::Measurements;
use self::registrations::Registrations;
use crate::dispatch::Outbox;
use crate::reconcile::Contact;

/// Heartbeats that are heard so late leave too little of the time after which a node counts as DOWN.
const TOO_LATE: Duration = Duration::from_millis(200);
/// Work that can wait waits so long at most for workers to be heard in time.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// When a node's contact is to be looked at again. Sooner, if its worker does more than to be heard, or the node is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextLook {
    /// With the next look.
    Soon,
    /// When so long has passed.
    After(Duration),
    /// Not before that.
    WhenSomethingHappens,
}

/// The contacts of all nodes. Clones share them.
#[derive(Debug, Clone)]
pub struct Contacts {
    nodes: Arc<Mutex<BTreeMap<NodeId, Entry>>>,
    /// These are never locked before `nodes` by who locks both.
    lookouts: Arc<Mutex<Lookouts>>,
    /// Told when a node is to be looked at that was not before.
    doubted: Arc<Notify>,
    measurements: Arc<Mutex<Measurements>>,
    /// The number of the newest measurement.
    measured: watch::Sender<u64>,
    /// How late workers were heard at the newest look.
    late: watch::Sender<Duration>,
    registrations: Registrations,
}

#[derive(Debug)]
struct Entry {
    session: Option<Arc<Outbox>>,
    /// Which start of a worker the session is of, if it says so.
    run: Option<Uuid>,
    said_goodbye: bool,
    is_away: bool,
    last_heard: Instant,
    /// A node that this manager has not heard since it started, or whose worker is away for a while, is not called DOWN before
    /// this; no node is while many register.
    grace_until: Instant,
}

impl Contacts {
    /// No contact yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: Arc::default(),
            lookouts: Arc::default(),
            doubted: Arc::default(),
            measurements: Arc::default(),
            measured: watch::Sender::new(0),
            late: watch::Sender::default(),
            registrations: Registrations::new(),
        }
    }

    /// What arrives from workers is heard so late now, since this manager has too much else to do.
    pub fn heard_late_by(&self, late: Duration) {
        self.late.send_replace(late);
    }

    /// Waits, not for ever, until workers are heard in good time: whoever makes work for all of them must not be what keeps their
    /// heartbeats waiting.
    pub async fn until_heard_in_time(&self) {
        let mut late = self.late.subscribe();
        // The sender is in `self`.
        let _ = tokio::time::timeout(LONGEST_WAIT, late.wait_for(|late| *late < TOO_LATE)).await;
    }

    /// The turns to register.
    #[must_use]
    pub fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// Whether many workers register after the manager's start, or did a moment ago: more of them may be about to.
    #[must_use]
    pub fn workers_wait(&self) -> bool {
        self.registrations.hold_up_until().is_some()
    }

    /// While workers wait for their turn to register, a node that is not heard may be one of theirs, whether it had its turn before or
    /// not: nobody's silence says anything then.
    pub fn bear_with_those_who_wait(&self) {
        let Some(until) = self.registrations.hold_up_until() else { return };
        for entry in self.nodes.lock().values_mut() {
            entry.grace_until = entry.grace_until.max(until);
        }
    }

    /// A worker registers, in the writer's turn: from here on its node's earlier silence is over, whatever is judged before its
    /// session is open. Nothing on an earlier session counts any more: no lease is renewed whose end is counted from now. Should
    /// the registration come to nothing after all, whoever had that session registers too.
    pub fn registers(&self, node_id: NodeId) {
        let mut nodes = self.nodes.lock();
        let entry = nodes.entry(node_id).or_insert_with(Entry::new);
        if let Some(earlier) = entry.session.take() {
            earlier.close("a newer session of the same node takes over");
        }
        entry.begin_anew();
        self.look_soon(node_id);
        // What it measures from here on is what counts.
        self.measurements.lock().put(node_id, None);
    }

    /// A session opened, by this run of a worker.
    pub fn opened(&self, node_id: NodeId, session: Arc<Outbox>, run: Option<Uuid>) {
        let mut nodes = self.nodes.lock();
        let entry = nodes.entry(node_id).or_insert_with(Entry::new);
        (entry.session, entry.run) = (Some(session), run);
        entry.begin_anew();
        self.look_soon(node_id);
        self.measurements.lock().put(node_id, None);
    }

    /// Something was heard on a session. False when it is not the node's newest one: then it counts for nothing, and must not
    /// be acknowledged.
    pub fn heard(&self, node_id: NodeId, session_id: SessionId) -> bool {
        match self.nodes.lock().get_mut(&node_id) {
            Some(entry) if entry.is_of(session_id) => {
                entry.last_heard = Instant::now();
                true
            }
            _ => false,
        }
    }

    /// When another run of a worker than this one, whose session of this node is open, was heard last.
    #[must_use]
    pub fn other_run_heard(&self, node_id: NodeId, run: Uuid) -> Option<Instant> {
        let nodes = self.nodes.lock();
        let entry = nodes.get(&node_id).filter(|entry| entry.session.is_some())?;
        entry.run.is_some_and(|known| known != run).then_some(entry.last_heard)
    }

    /// A worker measured its node.
    pub fn measured(&self, node_id: NodeId, session_id: SessionId, stats: NodeStats) {
        let nodes = self.nodes.lock();
        if nodes.get(&node_id).is_some_and(|entry| entry.is_of(session_id)) {
            let number = self.measurements.lock().put(node_id, Some(stats));
            self.measured.send_replace(number);
        }
    }

    /// A worker is about to go; its session is open until it has.
    pub fn said_goodbye(&self, node_id: NodeId, session_id: SessionId) {
        let mut nodes = self.nodes.lock();
        if let Some(entry) = nodes.get_mut(&node_id)
            && entry.is_of(session_id)
        {
            entry.said_goodbye = true;
            self.look_soon(node_id);
        }
    }

    /// A worker goes for a while and leaves its tasks running.
    pub fn goes_away(&self, node_id: NodeId, session_id: SessionId, back_within: Duration) {
        let mut nodes = self.nodes.lock();
        if let Some(entry) = nodes.get_mut(&node_id)
            && entry.is_of(session_id)
        {
            entry.is_away = true;
            entry.grace_until = Instant::now() + back_within.min(LONGEST_AWAY);
            self.look_soon(node_id);
        }
    }

    /// A session ended, on purpose or not. Nothing happens when a newer one had taken over before.
    pub fn closed(&self, node_id: NodeId, session_id: SessionId) {
        let mut nodes = self.nodes.lock();
        if let Some(entry) = nodes.get_mut(&node_id)
            && entry.is_of(session_id)
        {
            entry.session = None;
            self.look_soon(node_id);
        }
    }

    /// A node of the durable state that has not been heard since this manager started: it has from now on to be heard, and is
    /// not called DOWN before the grace has passed, nor before the end of the time for which its worker is away, if it is.
    pub fn expect(&self, node_id: NodeId, grace: Duration, away_for: Option<Duration>) {
        let grace = away_for.map_or(grace, |left| left.min(LONGEST_AWAY).max(grace));
        let expected = || Entry { grace_until: Instant::now() + grace, is_away: away_for.is_some(), ..Entry::new() };
        let mut nodes = self.nodes.lock();
        nodes.entry(node_id).or_insert_with(expected);
        self.look_soon(node_id);
    }

    /// Forgets nodes that are gone. Only in the writer's turn: a version that was published before may lack one that has joined
    /// since, and whose session is open.
    pub fn retain(&self, exists: impl Fn(NodeId) -> bool) {
        let mut nodes = self.nodes.lock();
        nodes.retain(|node_id, _| exists(*node_id));
        self.lookouts.lock().retain(|node_id| nodes.contains_key(&node_id));
        self.measurements.lock().retain(|node_id| nodes.contains_key(&node_id));
    }

    /// The manager itself did not run for a while, and could hear nobody: nobody's silence grows by that time.
    pub fn forgive(&self, pause: Duration) {
        for entry in self.nodes.lock().values_mut() {
            entry.last_heard += pause;
            entry.grace_until += pause;
        }
    }

    /// How many nodes there are, as far as workers were heard or are expected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.lock().len()
    }

    /// What the judgement of a node's health needs.
    #[must_use]
    pub fn contact(&self, node_id: NodeId) -> Option<Contact> {
        self.nodes.lock().get(&node_id).map(|entry| entry.contact(Instant::now()))
    }

    /// The same of those nodes of which something may have to be said: a worker did more than to be heard, or enough time has passed.
    /// `look` answers when the node is to be looked at next.
    pub fn each_due(&self, mut look: impl FnMut(NodeId, Contact) -> NextLook) {
        let nodes = self.nodes.lock();
        let (mut lookouts, now) = (self.lookouts.lock(), Instant::now());
        for node_id in lookouts.take(now) {
            let Some(entry) = nodes.get(&node_id) else { continue };
            match look(node_id, entry.contact(now)) {
                NextLook::Soon => lookouts.set(node_id, now),
                NextLook::After(wait) => lookouts.set(node_id, now + wait),
                NextLook::WhenSomethingHappens => {}
            }
        }
    }

    /// Nodes that are DOWN or SUSPECT in the version of the cluster that is looked at now. Those of which that was not so in the version
    /// before, or is so no longer, are looked at next: there may be nothing to be said of them until something happens.
    pub(crate) fn note_out_of_touch(&self, down: &OrdSet<NodeId>, suspect: &OrdSet<NodeId>) {
        let mut lookouts = self.lookouts.lock();
        for node_id in lookouts.changed(down, suspect) {
            lookouts.set(node_id, Instant::now());
        }
    }

    /// These nodes are looked at next, whatever was said of them.
    pub fn doubt(&self, node_ids: impl IntoIterator<Item = NodeId>) {
        node_ids.into_iter().for_each(|node_id| self.look_soon(node_id));
    }

    /// So are all.
    pub fn doubt_all(&self) {
        let nodes = self.nodes.lock();
        self.doubt(nodes.keys().copied());
    }

    fn look_soon(&self, node_id: NodeId) {
        self.lookouts.lock().set(node_id, Instant::now());
        self.doubted.notify_one();
    }

    /// How long nothing can be to be said of any node, unless [`Contacts::doubted`] tells. `None`: as long as that.
    #[must_use]
    pub fn calm_for(&self) -> Option<Duration> {
        self.lookouts.lock().first().map(|first| first.saturating_duration_since(Instant::now()))
    }

    /// Waits until a worker does more than to be heard, or somebody doubts a node; also if that was before, since this was waited for
    /// last.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// How long ago each of these nodes was heard last, or this manager began to expect it.
    #[must_use]
    pub fn silences(&self, node_ids: impl IntoIterator<Item = NodeId>) -> BTreeMap<NodeId, Duration> {
        let nodes = self.nodes.lock();
        let silence = |node_id| nodes.get(&node_id).map(|entry| (node_id, entry.last_heard.elapsed()));
        node_ids.into_iter().filter_map(silence).collect()
    }

    /// The open session of a node.
    #[must_use]
    pub fn session(&self, node_id: NodeId) -> Option<Arc<Outbox>> {
        self.nodes.lock().get(&node_id).and_then(|entry| entry.session.clone())
    }

    /// What was measured last on a node.
    #[must_use]
    pub fn stats(&self, node_id: NodeId) -> Option<NodeStats> {
        self.measurements.lock().get(node_id)
    }

    /// A receiver that wakes with every measurement.
    #[must_use]
    pub fn watch_measurements(&self) -> watch::Receiver<u64> {
        self.measured.subscribe()
    }

    /// Newest measurements of nodes that came after the `after`th, oldest first, each with its number; `None`: what was measured
    /// counts no more, since the node's worker registered anew.
    #[must_use]
    pub fn measurements_after(&self, after: u64) -> Vec<(u64, NodeId, Option<NodeStats>)> {
        self.measurements.lock().after(after)
    }
}

impl Default for Contacts {
    fn default() -> Self {
        Self::new()
    }
}

impl Entry {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: None, run: None, said_goodbye: false, is_away: false, last_heard: now, grace_until: now }
    }

    /// Its worker registered: silence, goodbye and the grace for it are over.
    fn begin_anew(&mut self) {
        let now = Instant::now();
        (self.said_goodbye, self.is_away) = (false, false);
        (self.last_heard, self.grace_until) = (now, now);
    }

    fn contact(&self, now: Instant) -> Contact {
        Contact {
            connected: self.session.is_some(),
            said_goodbye: self.said_goodbye,
            is_away: self.is_away,
            silent_for: now.saturating_duration_since(self.last_heard),
            grace_left: self.grace_until.saturating_duration_since(now),
        }
    }

    fn is_of(&self, session_id: SessionId) -> bool {
        self.session.as_ref().is_some_and(|session| session.session_id() == session_id)
    }
}
