//! Ending containers, with as few questions as can be: what the engine tells by itself is not asked for.

use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::KillContainerOptionsBuilder;
use davit_core::id::AttemptKey;
use davit_core::spec::StopPolicy;

use super::containers::{Known, Run, in_time, timed};
use super::error::{refused, status, unavailable};
use super::events::{Died, End};
use super::{DockerRuntime, Error, Exit, InstanceState, KILLED_TIME, QUICK_TIME};
use crate::engine_turns::StopTurns;
use crate::runtime::ending::{self, Runs};

/// So soon after a kill the engine tells of the end by itself, unless its stream of events has broken.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// What a process returns that was killed.
const KILLED: i32 = 137;

/// A running container that is to end.
struct Container<'a, F> {
    engine: &'a Docker,
    end: End,
    sent: Sent,
    /// What is to be told of its end; `None`: it runs. Given what the engine tells by itself, and whether it was killed.
    look: F,
}

/// What it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// Nothing, or a signal that it may not obey.
    Nothing,
    /// A kill.
    Kill,
    /// Something that came too late.
    Late,
}

impl<T, F, L> Runs for Container<'_, F>
where
    F: Fn(Option<Died>, bool) -> L,
    L: Future<Output = Result<Option<T>, Error>>,
{
    type End = T;

    async fn signal(&mut self, signal: &str) -> Result<bool, Error> {
        let is_sent = kill(self.engine, self.end.id(), signal).await?;
        self.sent = match is_sent {
            false => Sent::Late,
            true if signal == ending::KILL => Sent::Kill,
            true => Sent::Nothing,
        };
        Ok(is_sent)
    }

    async fn ended(&mut self) -> Result<T, Error> {
        let look = &self.look;
        match self.sent {
            Sent::Nothing => return self.end.seen_by(|died| look(died, false)).await,
            Sent::Kill => {
                if let Ok(ended) = tokio::time::timeout(TOLD_WITHIN, self.end.seen_by(|died| look(died, true))).await {
                    return ended;
                }
            }
            Sent::Late => {}
        }
        let was_killed = self.sent == Sent::Kill;
        let ended = async {
            match look(None, was_killed).await? {
                Some(ended) => Ok(ended),
                None => self.end.seen_by(|died| look(died, was_killed)).await,
            }
        };
        in_time("wait for the end", KILLED_TIME, ended).await
    }
}

impl DockerRuntime {
    /// Signals, waits and kills in steps of its own: the engine's stop call would have to stay open for the whole
    /// grace period, which the client's timeout cuts, and takes a signal only since API 1.42. A paused container goes on
    /// by the engine's own doing when it gets the signal that stops it.
    pub(super) async fn stop_container(
        &self,
        key: AttemptKey,
        how: &StopPolicy,
        turns: Option<&StopTurns>,
    ) -> Result<Option<Exit>, Error> {
        let engine = self.engine().await?;
        // Bound first: the guard must not live across an await.
        let known = self.known.lock().get(&key).cloned();
        let (id, run) = match known {
            Some(Known { id, run: Some(run) }) => (id, run),
            _ => {
                let own = self.own(key).await?;
                let Known { id, run } = own.known();
                match (run, own.state) {
                    (Some(run), _) => (id, run),
                    (None, InstanceState::Exited(exit)) => return Ok(Some(exit)),
                    // It never ran.
                    (None, _) => return Ok(None),
                }
            }
        };
        let signal = [how.signal.as_str(), &run.stop_signal].into_iter().find(|signal| !signal.is_empty());
        let look = async |died: Option<Died>, was_killed: bool| match died.and_then(|died| told(died, was_killed, &run))
        {
            Some(mut exit) => {
                self.known.lock().insert(key, Known { id: id.clone(), run: None });
                self.note_end(key, &mut exit);
                Ok(Some(exit))
            }
            None => self.exit(engine, key, &id).await,
        };
        self.end(engine, &id, (signal.unwrap_or("SIGTERM"), how.grace), turns, look).await.map(Some)
    }

    /// Ends a running container; `look` tells of its end.
    pub(super) async fn end<T, L>(
        &self,
        engine: &Docker,
        id: &str,
        how: (&str, Duration),
        turns: Option<&StopTurns>,
        look: impl Fn(Option<Died>, bool) -> L,
    ) -> Result<T, Error>
    where
        L: Future<Output = Result<Option<T>, Error>>,
    {
        // First, so that its end is told however soon it comes.
        let end = self.events(engine).end_of(id);
        let (signal, grace) = how;
        ending::end(&mut Container { engine, end, sent: Sent::Nothing, look }, signal, grace, turns).await
    }
}

/// How a run ended, if what the engine tells by itself says all of it: not where it may have been killed for its memory,
/// nor where it was an earlier run that ended.
fn told(died: Died, was_killed: bool, run: &Run) -> Option<Exit> {
    let Died { exit_code, finished_at } = died;
    let says_all = (exit_code != KILLED || was_killed) && finished_at > run.started_at;
    says_all.then(|| Exit {
        exit_code,
        oom_killed: false,
        error: String::new(),
        lease_ended: false,
        started_at: Some(run.started_at),
        finished_at,
    })
}

/// `false`: it is gone or does not run, and nothing is left to signal.
async fn kill(engine: &Docker, id: &str, signal: &str) -> Result<bool, Error> {
    let options = KillContainerOptionsBuilder::new().signal(signal).build();
    let killing = async {
        match timed("kill", engine.kill_container(id, Some(options))).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(status(&error), Some(404 | 409)) => Ok(false),
            Err(error) if matches!(status(&error), Some(400)) => Err(refused("stop", &error)),
            Err(error) => Err(unavailable("stop", &error)),
        }
    };
    in_time("stop", QUICK_TIME, killing).await
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn an_end_is_asked_for_only_where_what_was_told_may_not_be_all() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let run = Run { started_at: at(5), stop_signal: String::new(), address: None };
        let died = |exit_code, second| Died { exit_code, finished_at: at(second) };
        let exit = told(died(143, 6), false, &run).unwrap();
        assert_eq!((exit.exit_code, exit.started_at, exit.finished_at), (143, Some(at(5)), at(6)));
        assert!(told(died(KILLED, 6), true, &run).is_some());
        assert!(told(died(KILLED, 6), false, &run).is_none(), "it may have been out of memory");
        assert!(told(died(143, 4), false, &run).is_none(), "that was an earlier run's");
    }
}
