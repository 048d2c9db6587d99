//! Taking up what an earlier worker of the same owner left: what the runtimes list, and what only the store tells.

use std::sync::Arc;
use std::time::Duration;

use davit_core::id::AttemptKey;
use davit_svc_kit::bugs::{self, Bug};

use super::Agent;
use super::held::Wanted;
use super::local_restart::{End, Plan};
use super::task_runner::Start;
use crate::local_store::{Mark, Record};
use crate::runtime::{Instance, InstanceState};

/// How long a runtime may take to list what it has, at the worker's start. The node is called down three heartbeats after the
/// last one of the earlier worker, and by then this one is to be back, whatever its engine does.
const LIST_TIME: Duration = Duration::from_millis(1500);

impl Agent {
    /// Finds what earlier workers left: what the runtimes list, and what only the store tells.
    pub(super) async fn adopt(self: &Arc<Self>) {
        if bugs::is(Bug::AdoptsNothing) {
            return;
        }
        let records = self.store.records();
        let mut unheard = records.clone();
        // Side by side: one that hangs must not hold up the others.
        let lists = self.runtimes.iter().map(|runtime| tokio::time::timeout(LIST_TIME, runtime.list()));
        for (runtime, listed) in self.runtimes.iter().zip(futures::future::join_all(lists).await) {
            let kind = runtime.kind();
            let listed = match listed {
                Ok(Ok(listed)) => listed,
                Ok(Err(error)) => {
                    tracing::warn!(%kind, %error, "can't list what runs here; it is looked for later");
                    continue;
                }
                Err(_) => {
                    tracing::warn!(%kind, "can't list what runs here in time; it is looked for later");
                    continue;
                }
            };
            let count = listed.len();
            for Instance { key, state } in listed {
                unheard.remove(&key);
                // Whatever the record says of its start: an instance tells that itself.
                let record = records.get(&key).cloned().unwrap_or_else(|| Record::found(kind));
                self.take_up(key, &Record { kind, ..record }, Start::Found(state));
            }
            unheard.retain(|key, record| {
                let missing = record.kind == kind;
                if missing {
                    self.take_up(*key, record, Start::Missing);
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
    }

    fn take_up(self: &Arc<Self>, key: AttemptKey, record: &Record, start: Start) {
        let start = match start {
            Start::Found(InstanceState::Exited(exit)) if record.mark != Mark::Stop && record.end().is_none() => {
                let end = End { attempt: key.attempt, exit: &exit, restarts: record.restarts };
                let spec = record.assignment().map(|assignment| assignment.spec);
                match spec.map(|spec| self.plan(&spec.restart, &end)) {
                    Some(plan @ Plan::Restart { .. }) => Start::Ended(exit, plan),
                    Some(Plan::Report) | None => Start::Found(InstanceState::Exited(exit)),
                }
            }
            start => start,
        };
        self.hold(&mut self.state.lock(), key, record.clone(), Wanted::left(record), start);
    }
}
