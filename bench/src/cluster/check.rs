//! Whether the cluster is as the client wants it: nothing lost, nothing twice, nothing too much.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use davit_proto::v1;
use tokio::time::Instant;
use uuid::Uuid;

use super::reserved::Reserved;
use super::setup::Cluster;
use super::wanted::Wanted;
use crate::error::Error;
use crate::phase;
use crate::running::LOOK;
use crate::running::client::parse_id;
use crate::running::latency::Spread;

/// Workers count what they run once a second.
const COUNTED: Duration = Duration::from_secs(10);

/// Looks at every task and every node, and at what the workers say that they run. Answers how long those that run waited for that,
/// from their creation to the newest change, by the manager's clock.
pub(super) async fn check(cluster: &mut Cluster, wanted: &Wanted) -> Result<Spread, Error> {
    phase::begin("check");
    // Their sum is right once everything is settled. Each node's count need not be: one may be told late and another early.
    let end = Instant::now() + COUNTED;
    loop {
        let (running, right) = (cluster.running_on_workers().await?.values().sum::<u64>(), wanted.running_count());
        if running == right {
            break;
        }
        if Instant::now() > end {
            return Err(Error::WrongAnswer(format!("the workers say that they run {running} tasks, and not {right}")));
        }
        tokio::time::sleep(LOOK).await;
    }
    let (dead, client) = (cluster.dead(), &mut cluster.client);
    let nodes = client.nodes().await?;
    let (mut tasks, mut reserved) = (Tasks::new(wanted, &nodes), Reserved::default());
    let look = |task| {
        tasks.look(&task);
        reserved.add(&task);
    };
    client.each_task(v1::TaskFilter::default(), look).await?;
    let totals = client.cluster().await?.totals.unwrap_or_default();
    let waits = Spread::of(std::mem::take(&mut tasks.waits));
    let by_node = std::mem::take(&mut tasks.by_node);
    let mut wrong = tasks.wrong();
    wrong.extend(wrong_on_workers(cluster, &nodes, &by_node).await?);
    wrong.extend(reserved.wrong(&nodes));
    wrong.extend(wrong_totals(&totals, wanted));
    wrong.extend(wrong_nodes(&nodes, &dead, wanted.running_count() == 0));
    if wrong.is_empty() { Ok(waits) } else { Err(Error::WrongAnswer(wrong.join("; "))) }
}

/// What still differs once every worker had the time to count.
async fn wrong_on_workers(
    cluster: &mut Cluster,
    nodes: &BTreeMap<String, v1::Node>,
    by_node: &BTreeMap<String, u64>,
) -> Result<Option<String>, Error> {
    let end = Instant::now() + COUNTED;
    loop {
        let wrong = wrong_counts(nodes, by_node, &cluster.running_on_workers().await?);
        if wrong.is_none() || Instant::now() > end {
            return Ok(wrong);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the tasks are, seen one after the other.
struct Tasks<'a> {
    wanted: &'a Wanted,
    nodes: &'a BTreeMap<String, v1::Node>,
    /// Those that are wanted and were not seen yet.
    unseen: HashSet<Uuid>,
    /// How long each that runs waited for that.
    waits: Vec<Duration>,
    /// How many run on each node, by its id.
    by_node: BTreeMap<String, u64>,
    wrong: u64,
    /// The first that is wrong.
    example: Option<String>,
}

impl<'a> Tasks<'a> {
    fn new(wanted: &'a Wanted, nodes: &'a BTreeMap<String, v1::Node>) -> Self {
        let unseen = wanted.running().collect();
        Self { wanted, nodes, unseen, waits: Vec::new(), by_node: BTreeMap::new(), wrong: 0, example: None }
    }

    /// A wanted one has to run, once, on a node that is not called DOWN; any other has to be stopped.
    fn look(&mut self, task: &v1::Task) {
        let (state, node_id) =
            task.status.as_ref().map_or_else(Default::default, |status| (status.state(), &*status.node_id));
        if state == v1::TaskState::Running {
            *self.by_node.entry(node_id.to_owned()).or_default() += 1;
        }
        let is_right = parse_id(&task.task_id).is_ok_and(|task_id| {
            let is_there = if self.unseen.remove(&task_id) {
                let is_up = self.nodes.get(node_id).is_some_and(|node| node.state() != v1::NodeState::Down);
                self.waits.extend(waited(task));
                state == v1::TaskState::Running && is_up
            } else {
                state == v1::TaskState::Stopped
            };
            is_there && task.attempt == self.wanted.attempt_of(task_id)
        });
        if !is_right {
            self.wrong += 1;
            let (id, state, attempt) = (&task.task_id, state.as_str_name(), task.attempt);
            self.example.get_or_insert_with(|| format!("task {id} is {state} on attempt {attempt}"));
        }
    }

    fn wrong(self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.unseen.is_empty() {
            wrong.push(format!("{} tasks are lost", self.unseen.len()));
        }
        if let Some(example) = self.example {
            wrong.push(format!("{} tasks are not as they should be, such as: {example}", self.wrong));
        }
        wrong
    }
}

/// From its creation to its newest change.
fn waited(task: &v1::Task) -> Option<Duration> {
    let (created, changed) = (task.create_time?, task.update_time?);
    let seconds = Duration::from_secs(u64::try_from(changed.seconds - created.seconds).ok()?);
    let nanos = i64::from(changed.nanos) - i64::from(created.nanos);
    let part = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { seconds.checked_sub(part) } else { Some(seconds + part) }
}

/// On each node as many run as its worker says.
fn wrong_counts(
    nodes: &BTreeMap<String, v1::Node>,
    by_node: &BTreeMap<String, u64>,
    on_workers: &BTreeMap<String, u64>,
) -> Option<String> {
    let count = |counts: &BTreeMap<String, u64>, key: &str| counts.get(key).copied().unwrap_or_default();
    let mut differ = nodes.values().filter_map(|node| {
        let (here, there) = (count(by_node, &node.node_id), count(on_workers, &node.name));
        (here != there).then(|| format!("{}, which says that it runs {there} tasks, and not {here}", node.name))
    });
    let first = differ.next()?;
    Some(format!("{} nodes run another number of tasks than the manager says, such as {first}", 1 + differ.count()))
}

/// What ever happened. It counts tasks too that are long deleted: of those that have ended only so many are kept.
fn wrong_totals(totals: &v1::TaskTotals, wanted: &Wanted) -> Option<String> {
    let (created, stopped) = wanted.totals();
    let right = v1::TaskTotals { created, stopped, completed: 0, failed: 0, lost: 0 };
    (*totals != right).then(|| format!("the cluster counts {totals:?}, and not {right:?}"))
}

/// `dead` are nodes that were killed; no other may be called DOWN.
fn wrong_nodes(nodes: &BTreeMap<String, v1::Node>, dead: &[String], all_stopped: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut count = |what: &str, is_so: &dyn Fn(&v1::Node) -> bool| {
        let mut names = nodes.values().filter(|node| is_so(node)).map(|node| &node.name);
        if let Some(first) = names.next() {
            wrong.push(format!("{} nodes {what}, such as {first}", 1 + names.count()));
        }
    };
    count("are DOWN and were not killed", &|node| node.state() == v1::NodeState::Down && !dead.contains(&node.name));
    count("have something set aside, and nothing runs", &|node| {
        all_stopped && (node.task_count > 0 || node.allocated.unwrap_or_default() != v1::Resources::default())
    });
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: v1::NodeState, cpu_millis: u64) -> (String, v1::Node) {
        let node = v1::Node {
            node_id: name.to_owned(),
            name: name.to_owned(),
            state: state.into(),
            allocated: Some(v1::Resources { cpu_millis, ..Default::default() }),
            ..Default::default()
        };
        (name.to_owned(), node)
    }

    fn task(number: u128, state: v1::TaskState, attempt: u32, node_id: &str) -> v1::Task {
        let status = v1::TaskStatus { state: state.into(), node_id: node_id.to_owned(), ..Default::default() };
        v1::Task { task_id: Uuid::from_u128(number).to_string(), attempt, status: Some(status), ..Default::default() }
    }

    /// Tasks 1 and 2 are to run, 2 after its node's death; 0 was stopped.
    fn wanted() -> Wanted {
        let mut wanted = Wanted::default();
        wanted.add((0..3).map(Uuid::from_u128));
        wanted.take_oldest(1);
        wanted.replace([Uuid::from_u128(2)]);
        wanted
    }

    fn wrong(tasks: &[v1::Task]) -> Vec<String> {
        let (wanted, nodes) = (wanted(), BTreeMap::from([node("a", v1::NodeState::Ready, 0)]));
        let mut seen = Tasks::new(&wanted, &nodes);
        tasks.iter().for_each(|task| seen.look(task));
        seen.wrong()
    }

    #[test]
    fn a_task_waited_from_its_creation_to_its_newest_change() {
        let waited_from_to = |created: (i64, i32), changed: (i64, i32)| {
            let mut task = v1::Task::default();
            let (create_time, update_time) =
                (task.create_time.get_or_insert_default(), task.update_time.get_or_insert_default());
            (create_time.seconds, create_time.nanos) = created;
            (update_time.seconds, update_time.nanos) = changed;
            waited(&task)
        };
        assert_eq!(waited_from_to((5, 300), (7, 500)), Some(Duration::new(2, 200)));
        assert_eq!(waited_from_to((5, 300), (7, 100)), Some(Duration::new(1, 999_999_800)));
        assert_eq!(waited_from_to((5, 300), (5, 100)), None, "the clock went back");
        assert_eq!(waited_from_to((5, 0), (4, 0)), None);
        assert_eq!(waited(&v1::Task::default()), None);
    }

    #[test]
    fn what_runs_as_it_should_is_right() {
        let (running, stopped) = (v1::TaskState::Running, v1::TaskState::Stopped);
        let right = [task(0, stopped, 1, "a"), task(1, running, 1, "a"), task(2, running, 2, "a")];
        assert_eq!(wrong(&right), Vec::<String>::new());
        assert_eq!(wrong(&right[1..]), Vec::<String>::new(), "a stopped task may be deleted");
        assert_eq!(wrong(&right[..2]), ["1 tasks are lost"]);
    }

    #[test]
    fn a_task_in_another_state_or_attempt_or_on_no_node_is_wrong() {
        let (running, stopped) = (v1::TaskState::Running, v1::TaskState::Stopped);
        for bad in [
            task(1, running, 2, "a"),
            task(1, running, 1, "gone"),
            task(1, stopped, 1, "a"),
            task(1, v1::TaskState::Pending, 1, ""),
            task(0, running, 1, "a"),
            task(9, running, 1, "a"),
        ] {
            let others = [task(1, running, 1, "a"), task(2, running, 2, "a")];
            let mut tasks: Vec<_> = others.into_iter().filter(|task| task.task_id != bad.task_id).collect();
            tasks.push(bad);
            assert_eq!(wrong(&tasks).len(), 1, "{tasks:?}");
        }
    }

    #[test]
    fn each_node_has_to_run_as_many_as_its_worker_says() {
        let nodes = BTreeMap::from([node("a", v1::NodeState::Ready, 0), node("b", v1::NodeState::Ready, 0)]);
        let counts = |counts: &[(&str, u64)]| counts.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
        let by_node: BTreeMap<String, u64> =
            nodes.values().zip([2, 1]).map(|(node, count)| (node.node_id.clone(), count)).collect();
        assert_eq!(wrong_counts(&nodes, &by_node, &counts(&[("a", 2), ("b", 1)])), None);
        let swapped = wrong_counts(&nodes, &by_node, &counts(&[("a", 1), ("b", 2)])).unwrap();
        assert!(
            swapped.starts_with("2 nodes") && swapped.contains("a, which says that it runs 1 tasks, and not 2"),
            "{swapped}"
        );
        assert!(wrong_counts(&nodes, &by_node, &counts(&[("a", 2)])).is_some());
    }

    #[test]
    fn totals_have_to_be_those_of_the_client() {
        let right = v1::TaskTotals { created: 3, stopped: 1, ..Default::default() };
        assert_eq!(wrong_totals(&right, &wanted()), None);
        assert!(wrong_totals(&v1::TaskTotals { stopped: 2, ..right }, &wanted()).is_some());
        assert!(wrong_totals(&v1::TaskTotals { failed: 1, ..right }, &wanted()).is_some());
    }

    #[test]
    fn nodes_that_are_down_are_told_and_full_ones_once_nothing_runs() {
        let nodes = BTreeMap::from([
            node("full", v1::NodeState::Ready, 100),
            node("down", v1::NodeState::Down, 0),
            node("dead", v1::NodeState::Down, 0),
        ]);
        let wrong = wrong_nodes(&nodes, &["dead".to_owned()], false);
        assert_eq!(wrong, ["1 nodes are DOWN and were not killed, such as down"]);
        assert_eq!(wrong_nodes(&nodes, &["dead".to_owned()], true).len(), 2);
    }
}
