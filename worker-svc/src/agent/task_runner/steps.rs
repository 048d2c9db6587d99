//! The steps themselves: each asks the runtime, and says how far the attempt is then.

use std::pin::Pin;
use std::sync::Arc;

use davit_core::spec::StopPolicy;
use davit_core::state::TaskState;
use tokio_util::sync::CancellationToken;

use super::super::health::Health;
use super::super::held::Wanted;
use super::super::lease::never_runs_twice;
use super::super::local_restart::Plan;
use super::super::next_step::Phase;
use super::super::started;
use super::super::status::{set_started, stays_ready};
use super::{Runner, changed};
use crate::engine_turns::{Outcome, StopTurns};
use crate::local_store::{self, Mark, Restarts, Unhealthy};
use crate::runtime::{AttemptSpec, Error, ErrorKind, Exit, Instance, InstanceState, ProgressSender, Runtime, Started};

impl Runner {
    pub(super) fn runtime(&self) -> Result<Arc<dyn Runtime>, Error> {
        let missing = || Error::Unsupported { what: format!("this worker has no {} runtime", self.kind) };
        self.agent.runtime(self.kind).ok_or_else(missing)
    }

    pub(super) fn attempt(&self, wanted: &Wanted) -> Result<AttemptSpec, Error> {
        let missing = || Error::Unsupported { what: "the manager sent no spec".to_owned() };
        let spec = wanted.spec.clone().ok_or_else(missing)?;
        let env = self.agent.environment_of(self.key, &spec, wanted);
        Ok(AttemptSpec { key: self.key, spec, ports: wanted.ports.clone(), env, files: Vec::new() })
    }

    /// Notes how far it is, on the disk with `sync`.
    pub(super) async fn note(&mut self, mark: Mark, sync: bool) -> Result<(), Error> {
        let written = self.agent.store.write(self.key, sync, |record| record.mark = mark).await;
        written.map_err(|error| not_noted("note an attempt", error))
    }

    pub(super) async fn look(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let listed = self.runtime()?.list().await?;
        let found = listed.into_iter().find(|instance| instance.key == self.key);
        Ok(match found {
            None if self.mark == Mark::Create => Phase::New,
            None => Phase::Exited,
            Some(Instance { state, .. }) => {
                let phase = started(&state);
                if phase != Phase::Created {
                    // It was started after all.
                    self.failed = None;
                }
                match state {
                    InstanceState::Created => {}
                    InstanceState::Running(started) => match self.restart_tried {
                        Some(restarts) => self.restarted(restarts, &started, wanted),
                        None => self.found_running(&started, wanted),
                    },
                    InstanceState::Exited(exit) => self.ended(exit),
                }
                phase
            }
        })
    }

    pub(super) async fn prepare(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let (runtime, attempt) = (self.runtime()?, self.attempt(wanted)?);
        let progress = ProgressSender::new(None);
        let mut seen = progress.subscribe();
        // Whoever takes over from this worker is to know of it before there is anything of it at the engine.
        let noted = self.agent.store.write(self.key, false, |record| record.mark = self.mark);
        let noted = async { noted.await.map_err(|error| not_noted("note an attempt", error)) };
        let mut work = Box::pin(async { tokio::try_join!(runtime.prepare(&attempt, &progress), noted) });
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    if let (Some(pulled), ()) = done? {
                        self.agent.keep_image(pulled);
                    }
                    return Ok(Phase::Prepared);
                }
                // Dropping the work ends a pull that nobody wants any more.
                () = changed(&mut self.orders) => return Ok(self.phase),
                Ok(()) = seen.changed() => {
                    let pull = *seen.borrow_and_update();
                    self.observe(|status| status.pull = pull.map(Box::new));
                }
            }
        }
    }

    pub(super) async fn create(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let (runtime, mut attempt) = (self.runtime()?, self.attempt(wanted)?);
        if !attempt.spec.files().is_empty() {
            // Before its turn: the engine has nothing to do with it.
            let digests = attempt.spec.files().iter().map(|grant| grant.digest);
            let contents = Box::pin(self.agent.contents(self.key, digests.collect::<Vec<_>>()));
            attempt.files = tokio::select! {
                biased;
                contents = contents => contents?,
                () = changed(&mut self.orders) => return Ok(self.phase),
            };
        }
        if !self.has_turn().await {
            return Ok(self.phase);
        }
        runtime.create(&attempt).await?;
        Ok(Phase::Created)
    }

    pub(super) async fn start(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        let is_leased = wanted.spec.as_ref().is_some_and(|spec| never_runs_twice(spec));
        if !self.has_turn().await {
            return Ok(self.phase);
        }
        // Written first, so that whoever takes over from this worker knows that a start may be under way; and on the disk if it must
        // not run twice whatever the machine and its engine forget.
        self.note(Mark::Start, is_leased).await?;
        self.mark = Mark::Start;
        // Its turn and the disk may have taken a while.
        if self.agent.may_be_overtaken() {
            return Ok(self.phase);
        }
        let tried_before = std::mem::replace(&mut self.start_tried, true);
        // Other records reach the disk meanwhile: a loss of power ends the start too, and the runtime knows how far it came.
        let synced = async { if is_leased { Ok(()) } else { self.agent.store.flush().await } };
        let (started, synced) = Box::pin(async { tokio::join!(runtime.start(self.key), synced) }).await;
        let started = started.inspect_err(|error| {
            if error.kind() != ErrorKind::Unavailable {
                // This one was answered: it does not take place.
                self.start_tried = tried_before;
            }
        })?;
        if let Err(error) = synced {
            // It does with the next write.
            tracing::warn!(key = %self.key, %error, "the record of a start has not reached the disk");
        }
        if let Some(turn) = self.turn.take() {
            turn.ended(Outcome::Done);
        }
        self.unhealthy = None;
        self.observe(|status| set_started(status, &started, !wanted.has_check()));
        Ok(Phase::Started)
    }

    /// Takes in that it runs, which may be since an earlier worker's time.
    fn found_running(&mut self, started: &Started, wanted: &Wanted) {
        self.unhealthy.take_if(|unhealthy| unhealthy.run != started.started_at);
        let record = if wanted.has_check() { self.agent.store.record(self.key) } else { None };
        self.observe(|status| {
            set_started(status, started, !wanted.has_check());
            if let Some(record) = &record {
                stays_ready(status, record, started);
            }
        });
    }

    /// Waits for its turn at the engine; false when another thing is wanted meanwhile. The turn lasts from the creation
    /// to the start, so that of many attempts the first run before the last are created.
    pub(super) async fn has_turn(&mut self) -> bool {
        if self.turn.is_none() {
            self.turn = tokio::select! {
                biased;
                turn = self.agent.starts.next() => turn,
                () = changed(&mut self.orders) => None,
            };
        }
        self.turn.is_some()
    }

    /// Waits for its end, and sees whether it serves meanwhile.
    pub(super) async fn watch(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        let (key, want) = (self.key, wanted.want);
        Health::keep(&mut self.health, &self.agent, key, wanted.spec.as_ref());
        // Nothing is awaited, or kept room for, where there is no check.
        let failing: Option<Pin<Box<dyn Future<Output = Option<Unhealthy>> + Send + '_>>> =
            match (&self.unhealthy, &mut self.health) {
                (Some(_), _) => {
                    let agent = &self.agent;
                    Some(Box::pin(async move {
                        agent.until_may_stop_unhealthy(want).await;
                        None
                    }))
                }
                (None, Some(health)) => {
                    let (agent, runtime) = (&self.agent, &runtime);
                    Some(Box::pin(async move { Some(health.watch(agent, key, runtime.as_ref(), want).await) }))
                }
                (None, None) => None,
            };
        tokio::select! {
            biased;
            exit = runtime.wait(key) => {
                self.exit = Some(exit?);
                Ok(Phase::Exited)
            }
            () = changed(&mut self.orders) => Ok(self.phase),
            failed = async { failing?.await }, if failing.is_some() => {
                if let Some(unhealthy) = failed {
                    self.unhealthy = Some(Box::new(unhealthy));
                }
                Ok(self.phase)
            }
        }
    }

    pub(super) async fn stop(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        match self.unhealthy.clone().filter(|_| !self.asked_to_stop() && !wanted.is_end()) {
            // It is RUNNING until its end, after which it may run again within the attempt.
            Some(unhealthy) => {
                let noted = self.agent.store.write(self.key, true, |record| record.unhealthy = Some(unhealthy)).await;
                if let Err(error) = noted {
                    tracing::warn!(key = %self.key, %error, "can't note that an attempt is stopped because it does not serve");
                }
            }
            None => {
                self.mark = Mark::Stop;
                if let Err(error) = self.note(Mark::Stop, true).await {
                    tracing::warn!(key = %self.key, %error, "can't note that an attempt is asked to stop");
                }
                self.observe(|status| {
                    (status.state, status.ready) = (TaskState::Stopping, false);
                    status.reason.clear();
                });
            }
        }
        let how = wanted.stop_policy();
        let urgent = CancellationToken::new();
        let turns = StopTurns::new(&self.agent.stops, urgent.clone());
        let key = self.key;
        let stopping = async {
            match runtime.stop(key, &how, Some(&turns)).await {
                Err(error) if error.kind() == ErrorKind::Permanent => {
                    tracing::warn!(%key, %error, "can't stop an attempt as asked; killing it");
                    let kill = StopPolicy { signal: "SIGKILL".to_owned(), grace: how.grace };
                    runtime.stop(key, &kill, Some(&turns)).await
                }
                stopped => stopped,
            }
        };
        // While it waits for its turn it may become urgent.
        let hurrying = async {
            if self.orders.wait_for(|wanted| wanted.is_urgent).await.is_ok() {
                urgent.cancel();
            }
            std::future::pending().await
        };
        let stopped = tokio::select! {
            biased;
            never = hurrying => never,
            stopped = stopping => stopped?,
        };
        self.exit = Some(stopped.ok_or(Error::NotStarted { key })?);
        Ok(Phase::Exited)
    }

    pub(super) async fn discard(&mut self) -> Result<Phase, Error> {
        match self.runtime()?.remove(self.key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        if self.phase == Phase::Exited {
            // Nothing is left that could be restarted: the end that was seen is final.
            (self.restart_tried, self.plan) = (None, Some(Plan::Report));
            return Ok(Phase::Exited);
        }
        self.start_tried = false;
        Ok(Phase::Prepared)
    }

    /// Starts what has ended once more, within the attempt.
    pub(super) async fn restart(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        let runtime = self.runtime()?;
        if let Some(Plan::Restart { restarts, .. }) = self.plan {
            // First, since it may have been restarted whatever becomes of this worker.
            let written = self.agent.store.write(self.key, true, |record| record.restarts = restarts).await;
            written.map_err(|error| not_noted("note an attempt", error))?;
            let tried_before = self.restart_tried.replace(restarts);
            let started = match runtime.restart(self.key).await {
                Ok(started) => started,
                Err(error) => {
                    if error.kind() != ErrorKind::Unavailable {
                        // This one was answered: it does not take place.
                        self.restart_tried = tried_before;
                    }
                    return Err(error);
                }
            };
            self.restarted(restarts, &started, wanted);
            return Ok(Phase::Started);
        }
        Ok(self.phase)
    }

    /// Takes in an end. After another start than the one before it, that was a restart which was not answered: others may follow still.
    fn ended(&mut self, exit: Exit) {
        let is_another = self.exit.as_ref().is_some_and(|before| before.started_at != exit.started_at);
        self.unhealthy.take_if(|unhealthy| exit.started_at.is_some_and(|started_at| started_at != unhealthy.run));
        if let Some(restarts) = self.restart_tried.filter(|_| is_another) {
            (self.restarts, self.plan) = (restarts, None);
            self.observe(|status| status.local_restarts = restarts.count);
        }
        self.exit = Some(exit);
    }

    /// Takes in that it runs once more.
    pub(super) fn restarted(&mut self, restarts: Restarts, started: &Started, wanted: &Wanted) {
        tracing::info!(key = %self.key, restarts = restarts.count, "restarted an attempt while the manager is out of reach");
        self.restarts = restarts;
        (self.exit, self.plan, self.restart_tried, self.unhealthy) = (None, None, None, None);
        self.observe(|status| {
            set_started(status, started, !wanted.has_check());
            status.local_restarts = restarts.count;
        });
        self.agent.note_status(self.key);
    }

    pub(super) async fn remove(&mut self, wanted: &Wanted) -> Result<Phase, Error> {
        if let Some(runtime) = self.agent.runtime(self.kind) {
            // Nothing else is ever wanted any more, so that only the wait itself is to be cut short.
            let turn = if wanted.is_urgent { None } else { self.agent.removals.next().await };
            let removed = runtime.remove(self.key).await;
            match (turn, &removed) {
                (Some(turn), Ok(())) => turn.ended(Outcome::Done),
                (Some(turn), Err(error)) => turn.failed(error),
                (None, _) => {}
            }
            removed?;
        }
        self.agent.store.remove(self.key).await.map_err(|error| not_noted("forget an attempt", error))?;
        Ok(Phase::Gone)
    }
}

fn not_noted(action: &'static str, error: local_store::Error) -> Error {
    Error::Io { action, source: Arc::new(std::io::Error::other(error)) }
}
