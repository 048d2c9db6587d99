//! Hollow nodes: most in one process, and one in a process and on a machine of its own, which is the one that dies.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;
use nix::sys::signal::Signal;

use super::Figure;
use crate::api::Api;
use crate::cluster::Control;
use crate::error::{Result, io_at};
use crate::names::base;
use crate::net::{Net, Place};
use crate::process::Process;
use crate::shell::until;
use crate::stamp::Stamp;

/// Tasks for each node.
const TASKS_PER_NODE: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks; the figures are as exact as that.
const LOOK: Duration = Duration::from_millis(5);
/// The node that dies.
const VICTIM: &str = "victim-0";

struct Crowd {
    control: Control,
    place: Place,
    victim: Process,
    api: Api,
    nodes: usize,
}

/// Takes all figures with so many nodes.
///
/// # Errors
/// When something does not come up, or does not recover at all.
pub(super) async fn measure(nodes: usize, rounds: usize) -> Result<Vec<Figure>> {
    println!("{nodes} hollow nodes");
    let mut crowd = Crowd::start(nodes).await?;
    let on = format!("{nodes} hollow nodes, {} tasks", nodes * TASKS_PER_NODE);
    let mut figures = [
        "node killed → all tasks RUNNING elsewhere",
        "manager killed → takes changes again",
        "worker restarted → a new task RUNNING there",
    ]
    .map(|what| Figure { what, on: on.clone(), times: Vec::new(), disturbed: 0 });
    for round in 1..=rounds {
        crowd.fill().await?;
        let taken = [crowd.restart_worker().await?, crowd.kill_manager().await?, crowd.kill_node().await?];
        let [worker, manager, node] = taken;
        println!("  {round:>3}  node {node:?}, manager {manager:?}, worker {worker:?}");
        for (figure, (time, disturbed)) in figures.iter_mut().zip([node, manager, worker]) {
            figure.times.push(time);
            figure.disturbed += disturbed;
        }
    }
    Ok(figures.into())
}

impl Crowd {
    async fn start(nodes: usize) -> Result<Self> {
        let logs = base().join("logs");
        std::fs::create_dir_all(&logs).map_err(io_at("make", &logs))?;
        let mut net = Net::make().await?;
        let control = Control::start(&mut net, &logs).await?;
        let manager = control.address();
        let mut hollow = async |machine: &str, name: &str, count: usize| {
            let place = net.add(machine).await?;
            let program = std::env::current_exe().map_err(io_at("find", "this program".as_ref()))?;
            let program = program.display().to_string();
            let count = count.to_string();
            let command = [&program, "hollow", "--manager", &manager, "--name", name, "--count", &count];
            let log = logs.join(format!("hollow-{machine}.log"));
            let command = command.map(str::to_owned).to_vec();
            let mut process = Process::new(format!("hollow nodes {name}"), machine, log, command);
            process.start()?;
            Ok::<_, crate::error::Error>((place, process))
        };
        hollow("crowd", "hollow", nodes - 1).await?;
        let (place, victim) = hollow("victim", "victim", 1).await?;
        let mut api = Api::new(&manager)?;
        until("all nodes are READY", PATIENCE, async || api.all_is_well(nodes).await).await?;
        Ok(Self { control, place, victim, api, nodes })
    }

    /// Sees that there are enough tasks, all RUNNING, and that the node that is to die has its share.
    async fn fill(&mut self) -> Result<()> {
        let wanted = self.nodes * TASKS_PER_NODE;
        let mut api = self.api.clone();
        until("hollow tasks are created", PATIENCE, async || {
            let victim = node(&mut api, VICTIM).await?;
            let tasks = api.all_tasks().await.map_err(|status| status.to_string())?;
            let lacking = TASKS_PER_NODE.saturating_sub(victim.task_count as usize);
            // New tasks go to the emptiest node, so as many are taken from the others as it lacks.
            let surplus = (tasks.len() + lacking).saturating_sub(wanted);
            let elsewhere = tasks.values().filter(|task| node_of(task) != victim.node_id);
            for task in elsewhere.take(surplus) {
                api.delete(&task.task_id).await.map_err(|status| status.to_string())?;
            }
            let mut missing = (wanted + surplus).saturating_sub(tasks.len());
            while missing > 0 {
                let some = missing.min(1000);
                let count = u32::try_from(some).unwrap_or(u32::MAX);
                api.create_many(hollow_task(), count).await.map_err(|status| status.to_string())?;
                missing -= some;
            }
            Ok(())
        })
        .await?;
        until("hollow tasks are RUNNING", PATIENCE, async || {
            let victim = node(&mut api, VICTIM).await?;
            if victim.task_count == 0 {
                return Err("the node that is to die has no task".to_owned());
            }
            all_run(&mut api, wanted).await
        })
        .await
    }

    /// The node's cable is pulled and its process killed at the same moment. Its tasks are the ones that it disturbs.
    async fn kill_node(&mut self) -> Result<(Duration, usize)> {
        let wanted = self.nodes * TASKS_PER_NODE;
        let before = self.attempts().await?;
        self.place.set_cable(false).await?;
        let begin = Stamp::now();
        self.victim.kill().await?;
        let mut api = self.api.clone();
        quickly("its tasks run elsewhere", async || {
            let victim = node(&mut api, VICTIM).await?;
            if victim.state() != v1::NodeState::Down {
                return Err("it is not DOWN".to_owned());
            }
            all_run(&mut api, wanted).await
        })
        .await?;
        let took = Stamp::now().since(begin);
        let disturbed = self.disturbed_since(&before).await?;
        self.place.set_cable(true).await?;
        self.victim.start()?;
        let nodes = self.nodes;
        until("the node is back", PATIENCE, async || self.api.all_is_well(nodes).await).await?;
        Ok((took, disturbed))
    }

    async fn kill_manager(&mut self) -> Result<(Duration, usize)> {
        let before = self.attempts().await?;
        let begin = Stamp::now();
        self.control.manager.kill().await?;
        self.control.manager.start()?;
        let mut api = self.api.clone();
        quickly("changes are taken", async || {
            api.write("hollow-0", begin.0).await.map_err(|status| status.to_string())
        })
        .await?;
        let took = Stamp::now().since(begin);
        let nodes = self.nodes;
        until("all nodes are READY", PATIENCE, async || api.all_is_well(nodes).await).await?;
        Ok((took, self.disturbed_since(&before).await?))
    }

    /// The worker is ended in the middle of its work and started again at once; what runs on its engine goes on. It is back
    /// when a new task runs there.
    async fn restart_worker(&mut self) -> Result<(Duration, usize)> {
        let before = self.attempts().await?;
        let begin = Stamp::now();
        self.victim.signal(Signal::SIGUSR1)?;
        let mut api = self.api.clone();
        let mut task_id = String::new();
        let spec = v1::TaskSpec { constraints: vec![format!("node.name == {VICTIM}")], ..hollow_task() };
        quickly("a new task runs there", async || {
            if task_id.is_empty() {
                task_id =
                    api.create(spec.clone(), &format!("back-{begin}")).await.map_err(|status| status.to_string())?;
            }
            let task = api.task(&task_id).await.map_err(|status| status.to_string())?;
            let state = task.status.unwrap_or_default().state();
            if state == v1::TaskState::Running { Ok(()) } else { Err(state.as_str_name().to_owned()) }
        })
        .await?;
        let took = Stamp::now().since(begin);
        let disturbed = self.disturbed_since(&before).await?;
        let wanted = self.nodes * TASKS_PER_NODE;
        until("that task is deleted", PATIENCE, async || {
            // Gone already is as good.
            let _ = api.delete(&task_id).await;
            all_run(&mut api, wanted).await
        })
        .await?;
        Ok((took, disturbed))
    }

    async fn attempts(&mut self) -> Result<BTreeMap<String, u32>> {
        let tasks = until("tasks are listed", PATIENCE, async || {
            self.api.all_tasks().await.map_err(|status| status.to_string())
        })
        .await?;
        Ok(tasks.into_iter().map(|(task_id, task)| (task_id, task.attempt)).collect())
    }

    async fn disturbed_since(&mut self, before: &BTreeMap<String, u32>) -> Result<usize> {
        let now = self.attempts().await?;
        Ok(before.iter().filter(|(task_id, attempt)| now.get(*task_id) != Some(attempt)).count())
    }
}

/// As [`until`], looking far more often.
async fn quickly(what: &str, mut condition: impl AsyncFnMut() -> std::result::Result<(), String>) -> Result<()> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let Err(last) = condition().await else { return Ok(()) };
        if tokio::time::Instant::now() >= end {
            let seconds = PATIENCE.as_secs();
            return Err(crate::error::Error::Timeout { what: what.to_owned(), seconds, last });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn node(api: &mut Api, name: &str) -> std::result::Result<v1::Node, String> {
    api.node(name).await.map_err(|status| status.to_string())
}

async fn all_run(api: &mut Api, wanted: usize) -> std::result::Result<(), String> {
    let cluster = api.cluster().await.map_err(|status| status.to_string())?;
    let running = cluster.tasks.iter().find(|row| row.state() == v1::TaskState::Running).map_or(0, |row| row.count);
    if running == wanted as u64 { Ok(()) } else { Err(format!("{running} of {wanted} run")) }
}

fn node_of(task: &v1::Task) -> &str {
    task.status.as_ref().map_or("", |status| status.node_id.as_str())
}

fn hollow_task() -> v1::TaskSpec {
    let container = v1::ContainerSpec { image: "hollow".to_owned(), ..Default::default() };
    v1::TaskSpec {
        name: "hollow".to_owned(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        ..Default::default()
    }
}
