//! A run: the cluster, its users, faults in waves with time to settle between them, and the judgement at the end.

use std::sync::Arc;
use std::time::Duration;

use davit_svc_kit::rng::Rng;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::api::Api;
use crate::check::{self, Jobs};
use crate::cluster::{Cluster, Size};
use crate::error::{Result, io_at};
use crate::evidence::Evidence;
use crate::faults::{Fault, Kind, Since};
use crate::ledger::{Entry, Ledger};
use crate::names::{CLUSTER, base};
use crate::probe::{self, Outages};
use crate::report::{Recovery, Report};
use crate::stamp::Stamp;
use crate::sweep;
use crate::workload::Users;

/// How long the cluster may take to settle after faults; longer than a lease, a grace and the longest back-off together.
const SETTLE_TIME: Duration = Duration::from_secs(90);
/// How long it has to stay settled, so that a moment's luck does not count.
const CALM: Duration = Duration::from_millis(1500);
/// One wave of so many has two faults at once.
const PAIR_PERCENT: u64 = 25;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Decides on faults and users.
    pub(crate) seed: u64,
    /// How long there are faults.
    pub(crate) time: Duration,
    /// Only these kinds; empty: all.
    pub(crate) only: Vec<Kind>,
    /// What is tortured.
    pub(crate) size: Size,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Which promises were broken. Empty: none.
    pub(crate) violations: Vec<String>,
    /// Recovery times.
    pub(crate) report: Report,
    /// For people: how much was done.
    pub(crate) summary: String,
}

struct Run {
    plan: Plan,
    rng: Rng,
    cluster: Cluster,
    api: Api,
    ledger: Arc<Mutex<Ledger>>,
    evidence: Evidence,
    outages: Outages,
    report: Report,
    violations: Vec<String>,
}

/// Tortures a cluster that is started for it.
///
/// # Errors
/// When the harness could not do its work. Broken promises are no errors.
pub(crate) async fn run(plan: Plan) -> Result<Verdict> {
    println!("starting {} machines, {} of them with an engine", plan.size.workers, plan.size.engines);
    let cluster = Cluster::start(plan.size).await?;
    println!("disks: {}", cluster.control.disk.kind);
    let path = base().join("ledger.log");
    let ledger = Arc::new(Mutex::new(Ledger::new(&path).map_err(io_at("write", &path))?));
    let api = cluster.api()?;
    let run = Run {
        rng: Rng::new(plan.seed),
        evidence: Evidence::new(&cluster.evidence),
        outages: Outages::default(),
        report: Report::default(),
        violations: Vec::new(),
        plan,
        cluster,
        api,
        ledger,
    };
    run.go().await
}

impl Run {
    async fn go(mut self) -> Result<Verdict> {
        let node = self.cluster.machines[0].place.name.clone();
        let _writes =
            AbortOnDropHandle::new(tokio::spawn(probe::write(self.cluster.api()?, node, self.outages.clone())));
        let lists = AbortOnDropHandle::new(tokio::spawn(probe::list(self.cluster.api()?, Arc::clone(&self.ledger))));
        let users =
            Users::new(self.cluster.api()?, Arc::clone(&self.ledger), self.cluster.evidence.clone(), self.plan.seed);
        let (finish, finished) = watch::channel(false);
        let mut users = AbortOnDropHandle::new(tokio::spawn(users.act(self.rng.fork("users"), finished)));
        // Something has to run before there is anything to disturb.
        tokio::time::sleep(Duration::from_secs(8)).await;
        self.settle("the start").await?;

        let end = Instant::now() + self.plan.time;
        let mut waves = 0;
        let mut bag = Vec::new();
        while Instant::now() < end && self.violations.is_empty() {
            let faults = self.draw(&mut bag);
            waves += 1;
            self.wave(waves, &faults).await?;
        }

        finish.send_replace(true);
        if tokio::time::timeout(SETTLE_TIME, &mut users).await.is_err() {
            self.violations.push("a request was not answered although all faults were over".to_owned());
        }
        self.judge().await?;
        drop(lists);
        self.clear_away().await?;
        self.violations.extend(self.cluster.panics());
        let ledger = self.ledger.lock();
        let all: Vec<&Entry> = ledger.entries().collect();
        let summary = format!(
            "{waves} waves of faults, {} of them with two at once; {} tasks created, {} stops answered, {} runs",
            self.report.pairs,
            all.iter().filter(|entry| entry.created.is_some()).count(),
            all.iter().filter(|entry| entry.stop_answered.is_some()).count(),
            self.evidence.runs().count(),
        );
        drop(all);
        self.violations.extend(ledger.violations().iter().cloned());
        drop(ledger);
        Ok(Verdict { violations: self.violations, report: self.report, summary })
    }

    /// Every kind comes once before any comes again.
    fn draw(&mut self, bag: &mut Vec<Kind>) -> Vec<Fault> {
        let first = self.draw_one(bag);
        let mut faults = vec![first];
        if self.rng.percent(PAIR_PERCENT) && self.plan.only.is_empty() {
            let second = self.draw_one(bag);
            if second.goes_with(&first) {
                faults.push(second);
            } else {
                bag.push(second.kind);
            }
        }
        faults
    }

    fn draw_one(&mut self, bag: &mut Vec<Kind>) -> Fault {
        if bag.is_empty() {
            let all = if self.plan.only.is_empty() { Kind::all() } else { &self.plan.only };
            bag.extend_from_slice(all);
        }
        let index = usize::try_from(self.rng.below(bag.len() as u64)).unwrap_or(0);
        bag.swap_remove(index).draw(&self.rng, &self.cluster)
    }

    /// Begins the faults, ends them, and waits until the cluster is over it.
    async fn wave(&mut self, number: u32, faults: &[Fault]) -> Result<()> {
        let told: Vec<String> = faults.iter().map(|fault| fault.describe(&self.cluster)).collect();
        let told = told.join(" and ");
        self.note(&format!("wave {number}: {told}"));
        let begin = Stamp::now();
        for fault in faults {
            fault.begin(&mut self.cluster).await?;
        }
        let mut by_end: Vec<&Fault> = faults.iter().collect();
        by_end.sort_by_key(|fault| fault.lasts);
        let began = Instant::now();
        let mut end = begin;
        for fault in by_end {
            tokio::time::sleep_until(began + fault.lasts).await;
            end = Stamp::now();
            self.note(&format!("wave {number}: {} ends", fault.kind.name()));
            fault.end(&mut self.cluster).await?;
        }
        let settled = Instant::now();
        self.settle(&told).await?;
        let settled = settled.elapsed();

        let settled = settled.as_secs_f64();
        let [fault] = faults else {
            self.report.pairs += 1;
            println!("  {number:>3}  {told}: settled in {settled:.1} s");
            return Ok(());
        };
        let since = if fault.kind.since() == Since::Begin { begin } else { end };
        let ledger = self.ledger.lock();
        let new_runs = check::new_runs(ledger.entries(), &self.evidence, begin);
        let times = |lonely: bool| -> Vec<Duration> {
            let runs = new_runs.iter().filter(|run| run.entry.wish.lonely == lonely);
            runs.map(|run| run.start.since(since)).collect()
        };
        let writes = self.outages.last_end(begin).map(|stamp| stamp.since(since));
        let recovery = Recovery { replaced: times(false), lonely: times(true), writes };
        println!("  {number:>3}  {told}: {}, settled in {settled:.1} s", recovery.describe());
        if fault.kind.is_harmless() && !new_runs.is_empty() {
            let names: Vec<&str> = new_runs.iter().map(|run| run.entry.name.as_str()).collect();
            self.violations.push(format!("{told} disturbed {}", names.join(", ")));
        }
        drop(ledger);
        self.report.add(fault.kind, recovery);
        Ok(())
    }

    fn note(&self, what: &str) {
        self.ledger.lock().note(what);
    }

    /// Waits until all is as it should be, and stays so for a moment. That it does not come to that is a violation.
    async fn settle(&mut self, after: &str) -> Result<()> {
        let deadline = Instant::now() + SETTLE_TIME;
        let mut calm_since = None;
        loop {
            self.look_after_processes()?;
            let problems = self.problems(Jobs::MayRun).await?;
            let now = Instant::now();
            if problems.is_empty() {
                if now - *calm_since.get_or_insert(now) >= CALM {
                    break;
                }
            } else {
                calm_since = None;
                if now >= deadline {
                    let seconds = SETTLE_TIME.as_secs();
                    self.violations.push(format!("{seconds} s after {after}: {}", problems.join("; ")));
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.violations.extend(check::broken(self.ledger.lock().entries(), &self.evidence));
        self.violations.extend(self.cluster.panics());
        Ok(())
    }

    /// What is not as it should be now.
    async fn problems(&mut self, jobs: Jobs) -> Result<Vec<String>> {
        if let Err(problem) = self.api.all_is_well(self.plan.size.workers).await {
            return Ok(vec![problem]);
        }
        let tasks = match self.api.all_tasks().await {
            Ok(tasks) => tasks,
            Err(status) => return Ok(vec![format!("the manager does not list its tasks: {status}")]),
        };
        self.evidence.refresh().map_err(io_at("read", &self.cluster.evidence))?;
        Ok(check::unsettled(self.ledger.lock().entries(), &tasks, &self.evidence, jobs, Stamp::now()))
    }

    /// No program may end but by our hand. One that did is started again, so that the rest can be seen.
    fn look_after_processes(&mut self) -> Result<()> {
        for process in self.cluster.processes() {
            if let Some(status) = process.ended_by_itself() {
                let log = process.log.display();
                self.violations.push(format!("{} ended by itself with {status}; its log: {log}", process.name));
                process.start()?;
            }
        }
        Ok(())
    }

    /// The judgement, when all faults are over and all requests answered.
    async fn judge(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_TIME;
        loop {
            let problems = self.problems(Jobs::AreDone).await?;
            if problems.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                self.violations.extend(problems.into_iter().map(|problem| format!("at the end, {problem}")));
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.violations.extend(check::broken(self.ledger.lock().entries(), &self.evidence));
        match self.api.all_tasks().await {
            Ok(tasks) => self.violations.extend(check::unasked(self.ledger.lock().entries(), &tasks)),
            Err(status) => self.violations.push(format!("the manager does not list its tasks: {status}")),
        }
        Ok(())
    }

    /// Deletes every task and sees that nothing is left of them anywhere.
    async fn clear_away(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_TIME;
        loop {
            let left = self.left_over().await?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.violations.extend(left);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn left_over(&mut self) -> Result<Vec<String>> {
        let tasks = match self.api.all_tasks().await {
            Ok(tasks) => tasks,
            Err(status) => return Ok(vec![format!("the manager does not list its tasks: {status}")]),
        };
        for task_id in tasks.keys() {
            // Deleted already, or asked again in the next round.
            let _ = self.api.delete(task_id).await;
        }
        let mut left = Vec::new();
        if !tasks.is_empty() {
            left.push(format!("{} tasks are left although they were deleted", tasks.len()));
        }
        for machine in &self.cluster.machines {
            let Some(engine) = &machine.engine else { continue };
            let containers = engine.containers(CLUSTER).await?;
            if !containers.is_empty() {
                left.push(format!("containers are left on {}: {}", machine.place.name, containers.join(" ")));
            }
        }
        let processes = sweep::task_processes();
        if !processes.is_empty() {
            let pids: Vec<String> = processes.iter().map(ToString::to_string).collect();
            left.push(format!("processes of tasks are left: {}", pids.join(" ")));
        }
        Ok(left)
    }
}
