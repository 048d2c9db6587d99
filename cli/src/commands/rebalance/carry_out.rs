//! Makes the moves of a plan, some at a time, and tells how each went.

use std::time::Duration;

use davit_proto::v1;
use futures::StreamExt as _;
use futures::stream;

use crate::client::Manager;
use crate::commands::{INTERRUPTED, r#move};
use crate::error::Error;
use crate::output::{NodeNames, Output, Tone, percent, short_id};

/// How one move went: inside, why it was not made.
type Made = Result<(), String>;

/// How fast the moves are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// As many tasks are on the move at one time.
    pub(super) at_once: usize,
    /// A move that takes longer is no longer waited for.
    pub(super) limit: Duration,
}

/// Makes the moves in their order, and tells the exit code.
pub(super) async fn run(
    manager: &Manager,
    plan: &v1::PlanRebalanceResponse,
    pace: Pace,
    output: &Output,
) -> Result<u8, Error> {
    let nodes: NodeNames = manager.list_nodes().await?.iter().collect();
    let total = plan.moves.len();
    let moves = plan.moves.iter().enumerate().map(|(index, each)| {
        let (nodes, title) = (&nodes, title(index, total, each));
        async move {
            output.note(&format!("{title} …"));
            (each, title, make(manager, each, nodes, pace.limit).await)
        }
    });
    let mut under_way = stream::iter(moves).buffer_unordered(pace.at_once);
    let (mut made, mut failed) = (0_usize, 0_usize);
    loop {
        let next = tokio::select! {
            next = under_way.next() => next,
            _ = tokio::signal::ctrl_c() => {
                output.note(&format!("{made} of {total} moves are made. What is on its way goes on; `davit ps` shows it."));
                return Ok(INTERRUPTED);
            }
        };
        let Some((each, title, outcome)) = next else { break };
        match outcome {
            Ok(()) => {
                made += 1;
                let there = output.message_palette.paint(Tone::Good, &format!("runs on {}", each.to_node_name));
                output.note(&format!("{title}: {there}"));
            }
            Err(problem) => {
                failed += 1;
                let not = output.message_palette.paint(Tone::Bad, "not moved");
                output.note(&format!("{title}: {not}: {}", problem.replace('\n', " ")));
            }
        }
    }
    output.note(&told(made, total, plan.imbalance_before, now_apart(manager).await));
    Ok(u8::from(failed > 0))
}

async fn make(manager: &Manager, each: &v1::TaskMove, nodes: &NodeNames, limit: Duration) -> Made {
    let request = v1::MoveTaskRequest {
        task_id: each.task_id.clone(),
        node: each.to_node_id.clone(),
        attempt: each.attempt,
        reason: "evens out the cluster".to_owned(),
    };
    let told = |error: Error| error.to_string();
    let moving = r#move::order(manager, request).await.map_err(told)?;
    let waited = r#move::until_there(manager, &moving, &each.to_node_id, nodes, |_| {});
    match tokio::time::timeout(limit, waited).await {
        Ok(arrived) => arrived.map_err(told)?,
        Err(_) => Err(format!("not within {} s; it goes on moving", limit.as_secs_f64())),
    }
}

/// How uneven the cluster is now, if that can be told.
async fn now_apart(manager: &Manager) -> Option<f64> {
    super::plan(manager, 1, 0.0).await.ok().map(|plan| plan.imbalance_before)
}

fn title(index: usize, total: usize, each: &v1::TaskMove) -> String {
    let (number, name, id) = (index + 1, &each.task_name, short_id(&each.task_id));
    format!("{number} of {total}  {name} {id}  {} → {}", each.from_node_name, each.to_node_name)
}

fn told(made: usize, total: usize, before: f64, now: Option<f64>) -> String {
    let of = match (made, total) {
        (1, 1) => "The move was made".to_owned(),
        (0, _) => "No move was made".to_owned(),
        (made, total) if made == total => format!("All {total} moves were made"),
        (made, total) => format!("{made} of {total} moves were made"),
    };
    match now {
        Some(now) => {
            format!("{of}: the fullest and the emptiest node are {} apart, {} before.", percent(now), percent(before))
        }
        None => format!("{of}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_says_what_it_was_good_for() {
        assert_eq!(
            told(5, 6, 0.62, Some(0.04)),
            "5 of 6 moves were made: the fullest and the emptiest node are 4% apart, 62% before."
        );
        assert_eq!(told(1, 1, 0.62, None), "The move was made.");
        assert_eq!(told(0, 3, 0.62, None), "No move was made.");
    }

    #[test]
    fn a_move_is_told_with_its_number() {
        let each = v1::TaskMove {
            task_id: "0193a5c0-1c1e-7d3a-9a53-000000000001".into(),
            task_name: "web".into(),
            from_node_name: "one".into(),
            to_node_name: "two".into(),
            ..Default::default()
        };
        assert_eq!(title(1, 6, &each), "2 of 6  web 000000000001  one → two");
    }
}
