//! Makes the moves of a plan, some at a time, and tells how each went.

use std::time::Duration;

use davit_proto::v1;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use crate::client::Manager;
use crate::commands::r#move;
use crate::error::Error;
use crate::output::{KnownNodes, MoveOutcome, Output, Tone, short_id};

/// How fast the moves are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// As many tasks are on the move at one time.
    pub(super) at_once: usize,
    /// A move that takes longer is no longer waited for.
    pub(super) limit: Duration,
}

/// What became of the moves of one plan.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// Of every move, in the plan's order.
    pub(super) outcomes: Vec<MoveOutcome>,
    /// Whether a person did not want to wait any longer.
    pub(super) interrupted: bool,
}

/// Makes the moves in their order. After one that failed no other begins: what it was planned with no longer holds.
pub(super) async fn run(
    manager: &Manager,
    nodes: &KnownNodes,
    moves: &[v1::TaskMove],
    pace: Pace,
    interrupt: impl Future<Output = ()> + Unpin,
    output: &Output,
) -> Round {
    let make_one = |index: usize| async move {
        let each = &moves[index];
        let title = format!("{} of {}  {}", index + 1, moves.len(), title(each));
        output.note(&format!("{title} …"));
        let outcome = make(manager, each, nodes, pace.limit).await;
        output.note(&format!("{title}: {}", told(&outcome, each, output)));
        outcome
    };
    drive(moves.len(), pace.at_once, make_one, interrupt).await
}

async fn drive<M: Future<Output = MoveOutcome>>(
    total: usize,
    at_once: usize,
    make: impl Fn(usize) -> M,
    mut interrupt: impl Future<Output = ()> + Unpin,
) -> Round {
    let mut outcomes = vec![MoveOutcome::NotBegun; total];
    // It may have come between two rounds.
    if (&mut interrupt).now_or_never().is_some() {
        return Round { outcomes, interrupted: true };
    }
    let mut under_way = FuturesUnordered::new();
    let (mut next, mut failed) = (0, false);
    loop {
        while !failed && next < total && under_way.len() < at_once {
            outcomes[next] = MoveOutcome::UnderWay;
            let moving = make(next);
            under_way.push(async move { (next, moving.await) });
            next += 1;
        }
        tokio::select! {
            made = under_way.next() => {
                let Some((index, outcome)) = made else { return Round { outcomes, interrupted: false } };
                failed |= matches!(outcome, MoveOutcome::Failed { .. });
                outcomes[index] = outcome;
            }
            () = &mut interrupt => return Round { outcomes, interrupted: true },
        }
    }
}

async fn make(manager: &Manager, each: &v1::TaskMove, nodes: &KnownNodes, limit: Duration) -> MoveOutcome {
    let request = v1::MoveTaskRequest {
        task_id: each.task_id.clone(),
        node: each.to_node_id.clone(),
        attempt: each.attempt,
        reason: "evens out the cluster".to_owned(),
    };
    let failed = |problem: String| MoveOutcome::Failed { problem: problem.replace('\n', " ") };
    let moving = match r#move::order(manager, request).await {
        Ok(moving) => moving,
        Err(error) => return failed(error.to_string()),
    };
    let waited = r#move::until_there(manager, &moving, &each.to_node_id, nodes, |_| {});
    match tokio::time::timeout(limit, waited).await {
        Ok(Ok(Ok(()))) => MoveOutcome::Made,
        Ok(Ok(Err(problem))) => failed(problem),
        Ok(Err(error)) => failed(lost_sight(&error)),
        Err(_) => MoveOutcome::UnderWay,
    }
}

/// The task was told to move, so it may get there all the same.
fn lost_sight(error: &Error) -> String {
    format!("it was told to move, but can't be followed any more: {error}")
}

fn told(outcome: &MoveOutcome, each: &v1::TaskMove, output: &Output) -> String {
    let paint = |tone, text: &str| output.message_palette.paint(tone, text);
    match outcome {
        MoveOutcome::Made => paint(Tone::Good, &format!("runs on {}", each.to_node_name)),
        MoveOutcome::UnderWay => paint(Tone::Waiting, "not there in time; it goes on moving"),
        MoveOutcome::Failed { problem } => format!("{}: {problem}", paint(Tone::Bad, "failed")),
        MoveOutcome::NotBegun => String::new(),
    }
}

/// A move as people read it.
pub(super) fn title(each: &v1::TaskMove) -> String {
    format!("{} {}  {} → {}", each.task_name, short_id(&each.task_id), each.from_node_name, each.to_node_name)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::{pending, ready};

    use super::*;

    fn failed() -> MoveOutcome {
        MoveOutcome::Failed { problem: "it ended FAILED".into() }
    }

    #[tokio::test]
    async fn moves_are_made_in_their_order() {
        let begun = RefCell::new(Vec::new());
        let make = |index| {
            begun.borrow_mut().push(index);
            ready(MoveOutcome::Made)
        };
        let round = drive(3, 1, make, pending()).await;
        assert_eq!(round, Round { outcomes: vec![MoveOutcome::Made; 3], interrupted: false });
        assert_eq!(*begun.borrow(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn after_a_move_that_failed_none_begins() {
        let make = |index| ready(if index == 1 { failed() } else { MoveOutcome::Made });
        let round = drive(4, 1, make, pending()).await;
        let expected = [MoveOutcome::Made, failed(), MoveOutcome::NotBegun, MoveOutcome::NotBegun];
        assert_eq!(round.outcomes, expected);
    }

    #[tokio::test]
    async fn what_is_on_its_way_beside_a_move_that_failed_is_waited_for() {
        let make = async |index| match index {
            0 => failed(),
            _ => {
                tokio::task::yield_now().await;
                MoveOutcome::Made
            }
        };
        let round = drive(4, 2, make, pending()).await;
        assert_eq!(round.outcomes, [failed(), MoveOutcome::Made, MoveOutcome::NotBegun, MoveOutcome::NotBegun]);
    }

    #[tokio::test]
    async fn a_move_that_takes_too_long_does_not_hold_up_the_next() {
        let make = |index| ready(if index == 0 { MoveOutcome::UnderWay } else { MoveOutcome::Made });
        assert_eq!(drive(2, 1, make, pending()).await.outcomes, [MoveOutcome::UnderWay, MoveOutcome::Made]);
    }

    #[tokio::test]
    async fn an_interrupt_leaves_what_is_on_its_way_alone() {
        let interrupt = Box::pin(tokio::task::yield_now());
        let round = drive(3, 2, |_| pending(), interrupt).await;
        let expected = vec![MoveOutcome::UnderWay, MoveOutcome::UnderWay, MoveOutcome::NotBegun];
        assert_eq!(round, Round { outcomes: expected, interrupted: true });
        let round = drive(1, 1, |_| pending(), ready(())).await;
        assert_eq!(round, Round { outcomes: vec![MoveOutcome::NotBegun], interrupted: true });
    }

    #[test]
    fn a_move_is_told_by_task_and_nodes() {
        let each = v1::TaskMove {
            task_id: "0193a5c0-1c1e-7d3a-9a53-000000000001".into(),
            task_name: "web".into(),
            from_node_name: "one".into(),
            to_node_name: "two".into(),
            ..Default::default()
        };
        assert_eq!(title(&each), "web 000000000001  one → two");
    }
}
