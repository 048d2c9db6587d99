//! `davit move`: a task goes to another node, and is waited for until it runs there.

use clap::Args;
use davit_proto::v1;
use jiff::Timestamp;

use super::run::progress::Progress;
use super::{INTERRUPTED, now};
use crate::client::{Manager, call, no_content};
use crate::error::Error;
use crate::output::{KnownNodes, Output, detail, short_id, state_of, task_name, task_state};
use crate::resolve::{self, Purpose};
use crate::watch;

/// Arguments of `davit move`.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// Do not wait until it runs there
    #[arg(short, long)]
    detach: bool,
    /// The task. It is stopped gracefully while room is kept for it on the other node
    #[arg(value_name = "TASK")]
    task: String,
    /// The node that it is to go to
    #[arg(value_name = "NODE")]
    node: String,
}

pub(super) async fn run(manager: &Manager, args: &MoveArgs, output: &Output) -> Result<u8, Error> {
    let task = resolve::task(manager, &args.task, Purpose::Change).await?;
    let node = resolve::node(manager, &args.node).await?;
    let request =
        v1::MoveTaskRequest { task_id: task.task_id, node: node.node_id.clone(), attempt: 0, reason: String::new() };
    let moving = order(manager, request).await?;
    if !args.detach {
        let nodes: KnownNodes = manager.list_nodes().await?.iter().collect();
        let mut progress = Progress::new(1, nodes.clone(), output);
        let waited = until_there(manager, &moving, &node.node_id, &nodes, |task| progress.show(task));
        let arrived = tokio::select! {
            arrived = waited => arrived,
            _ = tokio::signal::ctrl_c() => {
                progress.clear();
                output.note("The task goes on moving; `davit ps` shows how far it is.");
                return Ok(INTERRUPTED);
            }
        };
        progress.clear();
        if let Err(problem) = arrived? {
            let (name, id) = (task_name(&moving), short_id(&moving.task_id));
            return Err(Error::failed(format!("task `{name}` ({id}) did not come to {}: {problem}", node.name)));
        }
    }
    super::print_tasks(manager, &[moving], output).await.map(|()| 0)
}

/// Asks for a move, and tells the task as it is on its way.
pub(super) async fn order(manager: &Manager, request: v1::MoveTaskRequest) -> Result<v1::Task, Error> {
    let answer = manager.tasks().move_task(call(request)).await.map_err(|status| manager.error(status))?;
    answer.into_inner().task.ok_or_else(|| no_content("task"))
}

/// Waits until a task runs on the node that it was sent to. Inside: why it never will.
pub(super) async fn until_there(
    manager: &Manager,
    moving: &v1::Task,
    node_id: &str,
    nodes: &KnownNodes,
    show: impl FnMut(&v1::Task),
) -> Result<Result<(), String>, Error> {
    let settled = |task: &v1::Task| is_decided(task, moving.attempt, node_id);
    let watched = watch::until(manager, vec![moving.task_id.clone()], settled, show).await?;
    if watched.is_deleted(&moving.task_id) {
        return Ok(Err("it was deleted".to_owned()));
    }
    let task = watched.tasks.get(&moving.task_id).unwrap_or(moving);
    Ok(arrival(task, moving.attempt, node_id, nodes, now()))
}

/// Whether it is clear how a move went. The attempt that was to be stopped may still run.
fn is_decided(task: &v1::Task, attempt_before: u32, node_id: &str) -> bool {
    match state_of(task) {
        v1::TaskState::Running => on_node(task) == node_id || task.attempt > attempt_before,
        // The node can't take it any more: it goes wherever there is room, whenever there is.
        v1::TaskState::Pending => task.claim.is_none(),
        _ => false,
    }
}

/// How a move went, once that is clear.
fn arrival(
    task: &v1::Task,
    attempt_before: u32,
    node_id: &str,
    nodes: &KnownNodes,
    now: Timestamp,
) -> Result<(), String> {
    let reason = |text: String| {
        let detail = task.status.as_ref().map(|status| detail(status, now)).unwrap_or_default();
        if detail.is_empty() { text } else { format!("{text}: {detail}") }
    };
    match state_of(task) {
        // One that has done its work there came there.
        v1::TaskState::Running | v1::TaskState::Completed if on_node(task) == node_id => Ok(()),
        v1::TaskState::Running => Err(format!("it runs on {} instead", nodes.of(on_node(task)))),
        v1::TaskState::Pending => Err(reason("it waits again".to_owned())),
        _ if task.attempt == attempt_before => Err(reason(format!("it ended {} before", task_state(task)))),
        _ => Err(reason(format!("it ended {}", task_state(task)))),
    }
}

fn on_node(task: &v1::Task) -> &str {
    task.status.as_ref().map_or("", |status| &status.node_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::{NOW, node, node_id, running_task, task};

    fn runs(number: u32, attempt: u32) -> v1::Task {
        let mut task = running_task();
        task.attempt = attempt;
        task.status.get_or_insert_default().node_id = node_id(number);
        task
    }

    fn ended(state: v1::TaskState, attempt: u32) -> v1::Task {
        v1::Task { attempt, ..task(1, "web", state) }
    }

    fn arrived(task: &v1::Task) -> Result<(), String> {
        arrival(task, 1, &node_id(2), &[node(3, "three")].iter().collect(), NOW)
    }

    #[test]
    fn a_move_is_over_when_the_task_runs_there() {
        assert!(!is_decided(&runs(1, 1), 1, &node_id(2)));
        assert!(is_decided(&runs(2, 2), 1, &node_id(2)));
        assert_eq!(arrived(&runs(2, 2)), Ok(()));
    }

    #[test]
    fn a_task_that_waited_comes_with_its_old_attempt() {
        assert!(is_decided(&runs(2, 1), 1, &node_id(2)));
    }

    #[test]
    fn a_task_that_runs_elsewhere_did_not_arrive() {
        assert!(is_decided(&runs(3, 2), 1, &node_id(2)));
        assert_eq!(arrived(&runs(3, 2)), Err("it runs on three instead".to_owned()));
    }

    #[test]
    fn without_its_claim_it_is_not_expected_any_more() {
        let mut waiting = ended(v1::TaskState::Pending, 2);
        waiting.claim = Some(v1::PlacementClaim { node_id: node_id(2), reason: "asked to move".into() });
        assert!(!is_decided(&waiting, 1, &node_id(2)));
        waiting.claim = None;
        waiting.status.get_or_insert_default().reason = "node two went down".into();
        assert!(is_decided(&waiting, 1, &node_id(2)));
        assert_eq!(arrived(&waiting), Err("it waits again: node two went down".to_owned()));
    }

    #[test]
    fn a_task_that_ended_says_when() {
        assert_eq!(arrived(&ended(v1::TaskState::Completed, 1)), Err("it ended COMPLETED before".to_owned()));
        assert_eq!(arrived(&ended(v1::TaskState::Failed, 2)), Err("it ended FAILED".to_owned()));
    }
}
