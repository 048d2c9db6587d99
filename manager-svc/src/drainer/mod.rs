//! The loop that carries drains out: asks the scheduler where each task could go instead, moves those that fit somewhere, and
//! says why the others stay.
//!
//! It keeps nothing that can't be lost: how far a drain is stands in the node, so a manager that restarts goes on with it.

mod stuck;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use davit_core::id::{NodeId, TaskId};
use davit_core::node::Node;
use davit_core::task::Task;
use davit_proto::convert;
use davit_svc_kit::shutdown::Shutdown;
use davit_svc_kit::world::World;
use tokio::time::Instant;
use tracing::{debug, warn};

use self::stuck::Stuck;
use crate::commands;
use crate::contacts::Contacts;
use crate::explainer::{SchedulerClient, question_of_move};
use crate::reconcile::{DrainNext, Running, next_of_drain, why_stuck};
use crate::state::ClusterState;
use crate::writer::Handle;

/// How long the scheduler may take for one answer; then it counts as away, and deadlines are looked at.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How many places are asked for in one go for one node; then deadlines are looked at.
const MAX_QUESTIONS_PER_ROUND: usize = 32;
/// Between two rounds: many changes come together.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked at what a worker says that still runs on its node, when no task is left there.
const WORD_PERIOD: Duration = Duration::from_millis(250);
/// How long the store gets to recover when a change could not be committed.
const RECOVERY: Duration = Duration::from_millis(500);

/// Carries out drains.
#[derive(Clone)]
pub(crate) struct Drainer {
    writer: Handle,
    contacts: Contacts,
    world: World,
    scheduler: SchedulerClient,
}

/// Stuck tasks of every node that is drained.
type StuckTasks = BTreeMap<NodeId, Stuck>;

/// Where a task could go.
enum Place {
    /// There.
    On(NodeId),
    /// Nowhere, for this reason.
    Nowhere(String),
    /// It is not known, for this reason, which is the same for all.
    Unknown(String),
}

impl Drainer {
    pub(crate) fn new(writer: Handle, contacts: Contacts, world: World, scheduler: SchedulerClient) -> Self {
        Self { writer, contacts, world, scheduler: scheduler.with_timeout(ANSWER_TIMEOUT) }
    }

    /// Runs until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut changes = self.writer.watch();
        let mut stuck = StuckTasks::new();
        loop {
            changes.mark_unchanged();
            let Some(again_after) = shutdown.or_stop(Box::pin(self.round(&mut stuck))).await else { return };
            let next_look = self.next_look(&stuck);
            let waited = async {
                tokio::time::sleep(again_after.unwrap_or(PAUSE)).await;
                if again_after.is_some() {
                    return true;
                }
                tokio::select! {
                    changed = changes.changed() => changed.is_ok(),
                    () = sleep_until(next_look) => true,
                }
            };
            if shutdown.or_stop(waited).await != Some(true) {
                return;
            }
        }
    }

    /// Looks at every drain once. `Some`: there is more to do after so long, whatever happens.
    async fn round(&self, stuck: &mut StuckTasks) -> Option<Duration> {
        let state = self.writer.state();
        stuck.retain(|node_id, _| state.node(*node_id).is_some_and(|node| node.drain.is_some()));
        let running = self.running(&state);
        let has_news = commands::has_drain_news(&state, &running, self.world.clock.now());
        // Moves take a while, in which all tasks that change would be kept as they were.
        drop(state);
        if has_news {
            let advance = move |draft: &mut _| {
                commands::advance_drains(draft, &running);
                Ok::<(), Infallible>(())
            };
            if let Err(problem) = self.writer.write(advance).await {
                warn!(%problem, "drains could not be brought forward; trying again");
                return Some(RECOVERY);
            }
        }
        let nodes: Vec<Arc<Node>> = self.writer.state().drained_nodes().cloned().collect();
        let mut more = false;
        for node in nodes {
            more |= self.move_some(&node, stuck.entry(node.node_id).or_insert_with(|| Stuck::new(&self.world))).await;
        }
        more.then_some(PAUSE)
    }

    /// What the workers of drained nodes say.
    fn running(&self, state: &ClusterState) -> Running {
        let said =
            |node: &Arc<Node>| self.contacts.stats(node.node_id).map(|stats| (node.node_id, stats.running_tasks));
        state.drained_nodes().filter_map(said).collect()
    }

    /// Moves tasks of a node for which there is a place. True: there are more to ask for.
    async fn move_some(&self, node: &Arc<Node>, stuck: &mut Stuck) -> bool {
        let Some(drain) = &node.drain else { return false };
        let next = next_of_drain(&self.writer.state(), node, drain, &Running::new(), self.world.clock.now()).next;
        let DrainNext::Move { candidates, at_most } = next else { return false };
        let to_try = stuck.begin_round(&candidates, Instant::now());
        let (mut moved, mut asked, mut more) = (0, 0, false);
        // By the spec's address: tasks mostly share them, and what fits nowhere once does not fit for the next one.
        let mut nowhere: HashMap<usize, String> = HashMap::new();
        for (index, task) in to_try.iter().enumerate() {
            if moved >= at_most {
                break;
            }
            if let Some(why) = nowhere.get(&Arc::as_ptr(&task.spec).addr()) {
                stuck.put(task.task_id, why.clone());
                continue;
            }
            if asked >= MAX_QUESTIONS_PER_ROUND {
                more = true;
                break;
            }
            asked += 1;
            match self.place_elsewhere(task, node).await {
                Place::On(to) => match self.order(task, node.node_id, to).await {
                    Ok(()) => moved += 1,
                    Err(problem) => stuck.put(task.task_id, problem),
                },
                Place::Nowhere(why) => {
                    nowhere.insert(Arc::as_ptr(&task.spec).addr(), why.clone());
                    stuck.put(task.task_id, why);
                }
                Place::Unknown(problem) => {
                    to_try.iter().skip(index).for_each(|task| stuck.put(task.task_id, problem.clone()));
                    break;
                }
            }
        }
        if asked > 0 {
            stuck.tried(moved > 0, Instant::now());
        }
        self.tell(node.node_id, stuck.why().clone()).await;
        more
    }

    async fn place_elsewhere(&self, task: &Arc<Task>, node: &Arc<Node>) -> Place {
        let no_answer = |problem| Place::Unknown(format!("no place can be looked for: {problem}"));
        let turn = match self.scheduler.turn(None).await {
            Ok(turn) => turn,
            Err(problem) => return no_answer(problem),
        };
        // With the room that is kept for those before it.
        let state = self.writer.state();
        let stats = |node_id| self.contacts.stats(node_id);
        let question = question_of_move(&state, stats, task, &self.scheduler.algorithms(), self.world.clock.now());
        let question = match question {
            Ok(question) => question,
            Err(problem) => return Place::Unknown(problem),
        };
        let answer = match turn.explain(question).await {
            Ok(answer) => answer.placement.unwrap_or_default(),
            Err(problem) => return no_answer(problem),
        };
        match answer.runs.first().map(|run| run.node_id.parse::<NodeId>()) {
            Some(Ok(to)) => Place::On(to),
            Some(Err(problem)) => Place::Unknown(format!("the scheduler's answer makes no sense: {problem}")),
            None => Place::Nowhere(why_stuck(&state, task, node, &convert::kept_reason(answer.unplaced_reason))),
        }
    }

    async fn order(&self, task: &Arc<Task>, from: NodeId, to: NodeId) -> Result<(), String> {
        let key = task.key();
        let ordered = self.writer.write(move |draft| commands::move_drained(draft, from, key, to)).await;
        ordered.map_err(|problem| {
            debug!(task_id = %key.task_id, node_id = %to, %problem, "a task of a drained node could not be moved");
            problem.to_string()
        })
    }

    /// Tells users which tasks of the node are stuck, if that is news.
    async fn tell(&self, node_id: NodeId, why: BTreeMap<TaskId, String>) {
        let state = self.writer.state();
        let told_of = state.node(node_id).and_then(|node| node.drain.as_ref());
        if told_of.is_none_or(|drain| why.is_empty() && drain.stuck_count == 0) {
            return;
        }
        let told = self.writer.write(move |draft| {
            commands::note_stuck(draft, node_id, &why);
            Ok::<(), Infallible>(())
        });
        if let Err(problem) = told.await {
            debug!(%problem, "it could not be told why tasks of a drained node stay");
        }
    }

    /// When the next deadline passes, or stuck tasks are tried again.
    fn next_look(&self, stuck: &StuckTasks) -> Option<Instant> {
        let state = self.writer.state();
        let now = self.world.clock.now();
        let deadlines = state
            .drained_nodes()
            .filter_map(|node| node.drain.as_ref())
            .filter(|drain| drain.drained_at.is_none())
            .filter_map(|drain| drain.deadline)
            .filter_map(|deadline| Duration::try_from(deadline.duration_since(now)).ok())
            .map(|left| Instant::now() + left);
        let retries = stuck.values().filter_map(Stuck::retry_at);
        let running = self.running(&state);
        let awaits_word = |node: &Arc<Node>| {
            let next = |drain| next_of_drain(&state, node, drain, &running, now).next;
            node.drain.as_ref().is_some_and(|drain| next(drain) == DrainNext::AwaitWord)
        };
        let word = state.drained_nodes().any(awaits_word).then(|| Instant::now() + WORD_PERIOD);
        deadlines.chain(retries).chain(word).min()
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
