//! Finding and removing what bears the cluster's label and is assigned to nobody: made by hand, created by a call that seemed to
//! have failed, left by a node that is gone, started again by others after its attempt has ended.
//!
//! What bears this node's id is judged here, but only once the manager has said what the node is to have. What bears another
//! node's is told to the manager, which knows whether that node still looks after it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::ClusterId;
use davit_core::placement::RuntimeKind;
use davit_proto::convert::ForeignAttempt;
use davit_svc_kit::bugs::{self, Bug};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::Agent;
use super::held::Held;
use super::next_step::Want;
use super::orphans::{self, Holds, Orphan};
use crate::runtime::{Runtime, Sighting, Survey};

/// How long an orphan may take to end before it is killed: all of it is to be over within ten seconds.
const GRACE: Duration = Duration::from_secs(3);
/// How many are removed at once.
const REMOVALS_AT_ONCE: usize = 8;
/// How many wait for that at most; the rest is seen again.
const MAX_WAITING: usize = 1000;

/// What was seen, and what is being done about it.
#[derive(Debug)]
pub(super) struct Surveyed {
    cluster_id: Mutex<Option<ClusterId>>,
    foreign: Mutex<BTreeMap<RuntimeKind, Vec<(ForeignAttempt, Sighting)>>>,
    told: watch::Sender<Vec<ForeignAttempt>>,
    /// The engine's names of what ran at the newest look although its attempt had ended.
    revived: Mutex<BTreeMap<RuntimeKind, HashSet<String>>>,
    /// The engine's names of what is being removed.
    removing: Mutex<HashSet<String>>,
    removals: Arc<Semaphore>,
    /// The newest look at each runtime.
    looks: Mutex<BTreeMap<RuntimeKind, Look>>,
}

/// What is known of looks at a runtime.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    /// What the runtime counted before the newest one, if nobody here has to see anything of it again that does not change.
    settled_at: Option<u64>,
    /// Whether one was left out since, because the runtime had enough to do.
    put_off: bool,
}

/// A look that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// What the runtime counts before it.
    pub changes: Option<u64>,
    /// Only what has changed since the runtime counted this; `None`: all.
    pub since: Option<u64>,
}

impl Look {
    /// The look that is to be made now, if any. Pure, but for taking down that it is put off.
    fn due(&mut self, changes: Option<u64>, is_busy: bool) -> Option<Due> {
        if self.settled_at.is_some() && self.settled_at == changes {
            return None;
        }
        self.put_off = is_busy && !self.put_off;
        let since = self.settled_at.filter(|_| changes.is_some());
        (!self.put_off).then_some(Due { changes, since })
    }
}

impl Surveyed {
    pub(super) fn new(cluster_id: Option<ClusterId>) -> Self {
        Self {
            cluster_id: Mutex::new(cluster_id),
            foreign: Mutex::default(),
            told: watch::Sender::default(),
            revived: Mutex::default(),
            removing: Mutex::default(),
            removals: Arc::new(Semaphore::new(REMOVALS_AT_ONCE)),
            looks: Mutex::default(),
        }
    }
}

impl Agent {
    /// The manager says which cluster this is: what is created from now on is marked so, and what was seen may be judged
    /// otherwise.
    pub fn set_cluster_id(&self, cluster_id: ClusterId) {
        if self.surveyed.cluster_id.lock().replace(cluster_id) != Some(cluster_id) {
            self.surveyed.looks.lock().clear();
        }
        for runtime in &self.runtimes {
            runtime.set_cluster_id(cluster_id);
        }
    }

    /// Whether there may be something that nobody looks after, so that a look is to be made. Not where nothing has happened in a
    /// runtime since it was looked through; and one that has enough to do is left alone every other time.
    pub fn survey_due(&self, runtime: &Arc<dyn Runtime>) -> Option<Due> {
        let is_busy = [&self.starts, &self.stops, &self.removals].iter().any(|turns| turns.are_taken());
        self.surveyed.looks.lock().entry(runtime.kind()).or_default().due(runtime.changes(), is_busy)
    }

    /// Takes in what this look found under the cluster's label, and begins to remove what nobody looks after.
    pub fn take_survey(self: &Arc<Self>, runtime: &Arc<dyn Runtime>, Survey { seen, of }: Survey, look: Due) {
        let judgement = {
            let in_charge = self.is_in_charge();
            let state = self.state.lock();
            // Before the full set nobody knows what this node is to have, nor does who has had to give it to another worker.
            if !in_charge || state.closing || !state.follower.is_complete() || bugs::is(Bug::AdoptsNothing) {
                return;
            }
            let cluster_id = *self.surveyed.cluster_id.lock();
            orphans::judge(seen, self.owner.node_id, cluster_id, |key| holds(state.held.get(&key)))
        };
        let is_settled = judgement.orphans.is_empty() && judgement.revived.is_empty();
        {
            let mut looks = self.surveyed.looks.lock();
            let known = looks.entry(runtime.kind()).or_default();
            // One at what has changed since says nothing of the rest once that does not count any more.
            let is_whole = of.is_none() || known.settled_at == look.since;
            // What is not settled is seen again, with all the rest.
            *known = Look { settled_at: look.changes.filter(|_| is_settled && is_whole), put_off: false };
        }
        let revived = judgement.revived.iter().map(|orphan| orphan.sighting.id.clone()).collect();
        let before = self.surveyed.revived.lock().insert(runtime.kind(), revived).unwrap_or_default();
        let still_run = judgement.revived.into_iter().filter(|orphan| before.contains(&orphan.sighting.id));
        for orphan in judgement.orphans.into_iter().chain(still_run) {
            self.remove_orphan(Arc::clone(runtime), orphan);
        }
        let told = {
            let mut foreign = self.surveyed.foreign.lock();
            let known = foreign.entry(runtime.kind()).or_default();
            // What others have stays known until it changes or is gone.
            known.retain(|(_, one)| of.as_ref().is_some_and(|of| !of.contains(&one.id)));
            known.extend(judgement.foreign);
            known.sort_unstable_by_key(|(attempt, _)| *attempt);
            let all: Vec<_> = foreign.values().flatten().cloned().collect();
            orphans::told(&all)
        };
        self.surveyed.told.send_if_modified(|known| {
            let changed = *known != told;
            *known = told;
            changed
        });
    }

    /// What other nodes have here, whenever that changes.
    #[must_use]
    pub fn foreign(&self) -> watch::Receiver<Vec<ForeignAttempt>> {
        self.surveyed.told.subscribe()
    }

    /// The manager says that nobody looks after these any more. What was not seen here, or has changed, is left alone.
    pub fn remove_foreign(self: &Arc<Self>, attempts: &[ForeignAttempt]) {
        let orders: HashSet<ForeignAttempt> = attempts.iter().copied().collect();
        let found: Vec<(RuntimeKind, Sighting)> = {
            let foreign = self.surveyed.foreign.lock();
            let all = foreign.iter().flat_map(|(kind, seen)| seen.iter().map(|one| (*kind, one)));
            let ordered = all.filter(|(_, (attempt, _))| orders.contains(attempt));
            ordered.map(|(kind, (_, sighting))| (kind, sighting.clone())).collect()
        };
        for (kind, sighting) in found {
            if let Some(runtime) = self.runtime(kind) {
                self.remove_orphan(runtime, Orphan { sighting, why: "the manager says that its node is gone" });
            }
        }
    }

    fn remove_orphan(self: &Arc<Self>, runtime: Arc<dyn Runtime>, Orphan { sighting, why }: Orphan) {
        let id = sighting.id.clone();
        {
            let mut removing = self.surveyed.removing.lock();
            if removing.len() >= MAX_WAITING || !removing.insert(id.clone()) {
                return;
            }
        }
        let agent = Arc::clone(self);
        let remove = async move {
            let Ok(_turn) = agent.surveyed.removals.acquire().await else { return };
            let (kind, key) = (runtime.kind(), sighting.key.map(|key| key.to_string()));
            let removed = runtime.remove_sighted(&sighting, GRACE).await;
            if removed.is_ok() {
                // The manager's next word may be older than the next look.
                let mut foreign = agent.surveyed.foreign.lock();
                foreign.values_mut().for_each(|seen| seen.retain(|(_, one)| one.id != id));
            }
            match removed {
                Ok(false) => tracing::debug!(%kind, id, key, why, "what nobody looks after is gone already"),
                Ok(true) => {
                    tracing::warn!(%kind, id, key, why, "removed what nobody looks after");
                    metrics::counter!("davit_worker_orphans_removed_total").increment(1);
                }
                // It is seen again, and tried again then.
                Err(error) => tracing::warn!(%kind, id, key, %error, "can't remove what nobody looks after"),
            }
            agent.surveyed.removing.lock().remove(&id);
        };
        let stopped = self.stopped.clone();
        self.runners.spawn(async move { stopped.run_until_cancelled(remove).await });
    }
}

/// What that is to a survey.
fn holds(held: Option<&Held>) -> Holds {
    match held {
        None => Holds::Nothing,
        // Its runner removes it.
        Some(held) if held.orders.borrow().want == Want::Remove => Holds::Attempt,
        Some(held) if held.ended_at.is_some() => Holds::Ended,
        Some(_) => Holds::Attempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_changed_is_not_looked_through_and_what_is_busy_only_every_other_time() {
        let mut settled = Look { settled_at: Some(7), put_off: false };
        assert_eq!(settled.due(Some(7), false), None);
        assert_eq!(settled.due(Some(8), false), Some(Due { changes: Some(8), since: Some(7) }));
        let busy: Vec<_> = (0..4).map(|_| settled.due(Some(8), true).is_some()).collect();
        assert_eq!(busy, [false, true, false, true]);
        let all = |changes| Some(Due { changes, since: None });
        assert_eq!(settled.due(None, false), all(None), "one that can't tell any more is looked through");
        assert_eq!(Look::default().due(Some(0), false), all(Some(0)), "so is one that was not settled");
    }
}
