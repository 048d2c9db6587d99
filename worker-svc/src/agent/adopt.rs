//! Taking up what an earlier worker of the same owner left: what the runtimes list, and what only the store tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_core::placement::RuntimeKind;
use davit_proto::convert::Assignment;
use davit_svc_kit::bugs::{self, Bug};

use super::Agent;
use super::held::Wanted;
use super::lease::never_runs_twice;
use super::local_restart::{End, Plan};
use super::status::Start;
use crate::local_store::{Mark, Record};
use crate::runtime::{Instance, InstanceState, Runtime};

/// How long a runtime may take to list what it has, at the worker's start. The node is called down three heartbeats after the
/// last one of the earlier worker, and by then this one is to be back, whatever its engine does.
const LIST_TIME: Duration = Duration::from_millis(1500);

/// Some of what was kept is lost, and this runtime has not told what it has.
#[derive(Debug, thiserror::Error)]
#[error(
    "some of what this worker kept is lost, and its {kind} runtime does not tell what runs here: {problem}; if nothing of this \
     node can run there, start the worker without that runtime"
)]
pub struct Unfound {
    /// Which runtime.
    pub kind: RuntimeKind,
    /// Why it does not tell.
    pub problem: String,
}

impl Agent {
    /// Finds what earlier workers left: what the runtimes list, and what only the store tells.
    pub(super) async fn adopt(self: &Arc<Self>) {
        if bugs::is(Bug::AdoptsNothing) {
            return;
        }
        let records = self.store.records();
        let (mut unheard, mut disowned) = (records.clone(), Vec::new());
        // Side by side: one that hangs must not hold up the others.
        let lists = self.runtimes.iter().map(list);
        for (runtime, listed) in self.runtimes.iter().zip(futures::future::join_all(lists).await) {
            let kind = runtime.kind();
            let listed = match listed {
                Ok(listed) => listed,
                Err(problem) => {
                    tracing::warn!(%kind, problem, "can't list what runs here; it is looked for later");
                    self.unlisted.lock().insert(kind);
                    continue;
                }
            };
            let count = listed.len();
            for instance in listed {
                unheard.remove(&instance.key);
                self.take_up_found(kind, instance, &records);
            }
            unheard.retain(|key, record| {
                let missing = record.kind == kind;
                match missing {
                    true if may_run_elsewhere(record) => disowned.push(*key),
                    true => self.take_up(*key, record, Start::Missing),
                    false => {}
                }
                !missing
            });
            if count > 0 {
                tracing::info!(%kind, count, "found attempts of an earlier worker");
            }
        }
        for (key, record) in unheard {
            self.take_up(key, &record, Start::Unknown);
        }
        for key in disowned {
            tracing::warn!(
                %key, "its runtime has nothing of an attempt that must never run twice; if this worker's records are a copy it runs \
                elsewhere, so its end is left to the manager"
            );
            if let Err(error) = self.store.remove(key).await {
                tracing::warn!(%key, %error, "can't forget an attempt");
            }
        }
    }

    /// Where records are lost, only the runtimes tell what this node has: takes it up from those that had not told yet. Before all of
    /// them have, the manager must hear nothing: it would take for lost, and place anew, what runs here.
    ///
    /// # Errors
    /// When one still does not tell.
    pub async fn find_lost(self: &Arc<Self>) -> Result<(), Unfound> {
        if !self.store.has_lost() {
            return Ok(());
        }
        let unlisted = self.unlisted.lock().clone();
        for runtime in self.runtimes.iter().filter(|runtime| unlisted.contains(&runtime.kind())) {
            let kind = runtime.kind();
            let listed = list(runtime).await.map_err(|problem| Unfound { kind, problem })?;
            tracing::info!(%kind, count = listed.len(), "found what was not told before");
            for instance in listed {
                // Of what has a record its runner asks itself.
                if !self.state.lock().held.contains_key(&instance.key) {
                    self.take_up_found(kind, instance, &BTreeMap::new());
                }
            }
            self.unlisted.lock().remove(&kind);
        }
        if let Err(error) = self.store.made_up_for().await {
            tracing::warn!(%error, "can't note that all that runs here is known again");
        }
        Ok(())
    }

    fn take_up_found(
        self: &Arc<Self>,
        kind: RuntimeKind,
        Instance { key, state }: Instance,
        records: &BTreeMap<AttemptKey, Record>,
    ) {
        // Whatever the record says of its start: an instance tells that itself.
        let record = records.get(&key).cloned().unwrap_or_else(|| Record::found(kind));
        self.take_up(key, &Record { kind, ..record }, Start::Found(state));
    }

    fn take_up(self: &Arc<Self>, key: AttemptKey, record: &Record, start: Start) {
        let start = match start {
            Start::Found(InstanceState::Exited(exit)) if record.end().is_none() => {
                let unhealthy = record.unhealthy_in(exit.started_at);
                let end = End { attempt: key.attempt, exit: &exit, restarts: record.restarts, unhealthy };
                let assignment = record.assignment().filter(|_| record.mark != Mark::Stop);
                match assignment.map(|assignment| self.plan(&assignment.spec.restart, &end)) {
                    Some(plan @ Plan::Restart { .. }) => Start::Ended(exit, plan),
                    // Its end is not final before that restart has come to nothing.
                    Some(Plan::Report) | None if record.restart_tried().is_some() => Start::Ended(exit, Plan::Report),
                    Some(Plan::Report) | None => Start::Found(InstanceState::Exited(exit)),
                }
            }
            start => start,
        };
        self.hold(&mut self.state.lock(), key, record.clone(), Wanted::left(record), start);
    }
}

/// Whether this worker says nothing of an attempt that it has on record and its runtime does not have. Records may be a copy of
/// another worker's, who runs it: to say that it has ended, or to begin it, would make two of what must never run twice. To the
/// manager it is lost then, and the next one waits for the end of the lease.
fn may_run_elsewhere(record: &Record) -> bool {
    let is_leased = |assignment: Assignment| never_runs_twice(&assignment.spec);
    record.end().is_none() && record.assignment().is_none_or(is_leased)
}

/// What a runtime has, or why it does not tell in time.
async fn list(runtime: &Arc<dyn Runtime>) -> Result<Vec<Instance>, String> {
    match tokio::time::timeout(LIST_TIME, runtime.list()).await {
        Ok(listed) => listed.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it does not answer within {} ms", LIST_TIME.as_millis())),
    }
}
