//! A node dies at once, with all that runs on it: how long until its tasks run elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use davit_proto::v1;
use davit_proto::v1::event::Object;
use serde::Serialize;
use uuid::Uuid;

use super::setup::Cluster;
use super::wanted::Wanted;
use crate::error::Error;
use crate::running::client::parse_id;
use crate::running::latency::next_object;

/// What it may take until the tasks of a dead node run elsewhere.
const BUDGET: Duration = Duration::from_secs(4);

/// A node's death.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Death {
    /// How many tasks it had.
    tasks: usize,
    /// From the kill until a client that watches knew that it is DOWN.
    down_s: f64,
    /// From the kill until that client knew that each of its tasks is RUNNING elsewhere.
    pub(super) all_running_s: f64,
    budget_s: u64,
}

/// Kills the node that has a process of its own, and follows its tasks.
pub(super) async fn kill_node(cluster: &mut Cluster, wanted: &mut Wanted) -> Result<Death, Error> {
    let name = Cluster::victim_name();
    let filter =
        v1::TaskFilter { node: name.clone(), states: vec![v1::TaskState::Running.into()], ..Default::default() };
    let mut task_ids = Vec::new();
    cluster.client.each_task(filter, |task| task_ids.push(parse_id(&task.task_id))).await?;
    let task_ids: BTreeSet<Uuid> = task_ids.into_iter().collect::<Result<_, _>>()?;
    if task_ids.is_empty() {
        return Err(Error::WrongAnswer(format!("node {name} has no tasks, so its death shows nothing")));
    }
    let tasks = task_ids.len();
    wanted.replace(task_ids.iter().copied());
    let mut aftermath = Aftermath { name, is_down: false, left: task_ids };
    let mut events = cluster.client.watch(&[v1::EventType::TaskStateChanged, v1::EventType::NodeStateChanged]).await?;
    let killed = cluster.kill_victim().await?;
    let mut down_s = None;
    while !aftermath.is_over() {
        let object = next_object(&mut events).await?;
        aftermath.see(&object)?;
        if aftermath.is_down {
            down_s.get_or_insert_with(|| killed.elapsed().as_secs_f64());
        }
    }
    let all_running = killed.elapsed();
    let death = Death {
        tasks,
        down_s: down_s.unwrap_or_default(),
        all_running_s: all_running.as_secs_f64(),
        budget_s: BUDGET.as_secs(),
    };
    let verdict = if all_running <= BUDGET { "held" } else { "MISSED" };
    println!(
        "a node with {tasks} tasks killed: DOWN after {:.2} s, all RUNNING elsewhere after {:.2} s; budget {} s: {verdict}",
        death.down_s, death.all_running_s, death.budget_s
    );
    Ok(death)
}

/// What is still to happen after the death.
struct Aftermath {
    /// The dead node's.
    name: String,
    is_down: bool,
    /// Tasks of its that do not run elsewhere yet.
    left: BTreeSet<Uuid>,
}

impl Aftermath {
    fn is_over(&self) -> bool {
        self.is_down && self.left.is_empty()
    }

    /// Another node that is called DOWN is a mistake.
    fn see(&mut self, object: &Object) -> Result<(), Error> {
        match object {
            Object::Deployment(_) | Object::Job(_) | Object::Config(_) => {}
            Object::Node(node) if node.state() != v1::NodeState::Down => {}
            Object::Node(node) if node.name == self.name => self.is_down = true,
            Object::Node(node) => {
                return Err(Error::WrongAnswer(format!("node {} is called DOWN and was not killed", node.name)));
            }
            Object::Task(task) => {
                let task_id = parse_id(&task.task_id)?;
                let state = task.status.as_ref().map(v1::TaskStatus::state).unwrap_or_default();
                if state == v1::TaskState::Running && task.attempt == 2 {
                    self.left.remove(&task_id);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: v1::NodeState) -> Object {
        Object::Node(v1::Node { name: name.to_owned(), state: state.into(), ..Default::default() })
    }

    fn task(attempt: u32, state: v1::TaskState) -> Object {
        let status = Some(v1::TaskStatus { state: state.into(), ..Default::default() });
        Object::Task(v1::Task { task_id: Uuid::from_u128(1).to_string(), attempt, status, ..Default::default() })
    }

    fn aftermath() -> Aftermath {
        Aftermath { name: "victim-0".to_owned(), is_down: false, left: BTreeSet::from([Uuid::from_u128(1)]) }
    }

    #[test]
    fn it_is_over_when_the_node_is_down_and_its_tasks_run_anew() {
        let mut aftermath = aftermath();
        for object in [
            node("victim-0", v1::NodeState::Suspect),
            node("victim-0", v1::NodeState::Down),
            task(1, v1::TaskState::Lost),
            task(2, v1::TaskState::Pending),
            task(2, v1::TaskState::Scheduled),
        ] {
            aftermath.see(&object).unwrap();
            assert!(!aftermath.is_over());
        }
        aftermath.see(&task(2, v1::TaskState::Running)).unwrap();
        assert!(aftermath.is_over());
    }

    #[test]
    fn another_node_that_is_called_down_is_a_mistake() {
        let mut aftermath = aftermath();
        assert!(aftermath.see(&node("hollow-7", v1::NodeState::Suspect)).is_ok());
        assert!(aftermath.see(&node("hollow-7", v1::NodeState::Down)).is_err());
    }
}
