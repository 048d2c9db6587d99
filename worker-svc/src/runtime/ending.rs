//! How what runs is ended: a signal, time to obey it, a kill. In turns with whatever else is being ended, since engines
//! become slower with too much at once.
//!
//! What takes turns is the engine's work, never a grace: a turn lasts from a signal to the end if that comes at once, and
//! what takes its time to obey, or does not obey at all, gives its turn to the next. So graces pass side by side, however
//! many there are.

use std::time::Duration;

use super::Error;
use crate::engine_turns::{EngineTurn, Outcome, StopTurns};

/// What obeys a signal at once has ended after so long, unless the engine has more to do than it gets done.
const AT_ONCE: Duration = Duration::from_millis(100);

pub(super) const KILL: &str = "SIGKILL";

/// Something that runs, and that its engine is asked to end.
pub(super) trait Runs {
    /// What is told of its end.
    type End;

    /// Has it signalled. `false`: it does not run any more.
    async fn signal(&mut self, signal: &str) -> Result<bool, Error>;

    /// Waits for its end; after a kill, or where it was not there to be signalled, not for ever. May be dropped and called again.
    async fn ended(&mut self) -> Result<Self::End, Error>;
}

/// What became of a signal.
enum Signalled<T> {
    /// It had ended before that.
    Ended(T),
    /// It had ended, or is gone.
    Late,
    /// It was sent, in this turn if it took one.
    Sent(Option<EngineTurn>),
}

/// Signals what runs, and kills it if it has not ended after the grace. Returns when it has ended. Without `turns` it waits
/// for no others.
pub(super) async fn end<R: Runs>(
    runs: &mut R,
    signal: &str,
    grace: Duration,
    turns: Option<&StopTurns>,
) -> Result<R::End, Error> {
    let is_kill = matches!(signal.strip_prefix("SIG").unwrap_or(signal), "KILL" | "9");
    if !is_kill {
        match signalled(runs, signal, turns).await? {
            Signalled::Ended(end) => return Ok(end),
            Signalled::Late => return runs.ended().await,
            Signalled::Sent(turn) => {
                if let Some(ended) = within_grace(runs, grace, turn).await {
                    return ended;
                }
            }
        }
    }
    match signalled(runs, KILL, turns).await? {
        Signalled::Ended(end) => Ok(end),
        Signalled::Late => runs.ended().await,
        Signalled::Sent(turn) => {
            let ended = runs.ended().await;
            tell(turn, &ended);
            ended
        }
    }
}

/// Has it signalled in its turn, unless it ends before that.
async fn signalled<R: Runs>(runs: &mut R, signal: &str, turns: Option<&StopTurns>) -> Result<Signalled<R::End>, Error> {
    let turn = match turns {
        None => None,
        Some(turns) => tokio::select! {
            biased;
            ended = runs.ended() => return ended.map(Signalled::Ended),
            turn = turns.next() => turn,
        },
    };
    let sent = runs.signal(signal).await;
    match sent {
        Ok(true) => Ok(Signalled::Sent(turn)),
        Ok(false) => Ok(Signalled::Late),
        Err(error) => {
            if let Some(turn) = turn {
                turn.failed(&error);
            }
            Err(error)
        }
    }
}

/// How it ended after its signal; `None`: it did not within the grace.
async fn within_grace<R: Runs>(
    runs: &mut R,
    grace: Duration,
    turn: Option<EngineTurn>,
) -> Option<Result<R::End, Error>> {
    let soon = grace.min(AT_ONCE);
    if let Ok(ended) = tokio::time::timeout(soon, runs.ended()).await {
        tell(turn, &ended);
        return Some(ended);
    }
    drop(turn);
    tokio::time::timeout(grace - soon, runs.ended()).await.ok()
}

/// Ends the turn in which it was ended.
fn tell<T>(turn: Option<EngineTurn>, ended: &Result<T, Error>) {
    match (turn, ended) {
        (Some(turn), Ok(_)) => turn.ended(Outcome::Done),
        (Some(turn), Err(error)) => turn.failed(error),
        (None, _) => {}
    }
}
