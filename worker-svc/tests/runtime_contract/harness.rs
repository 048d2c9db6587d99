//! What a fact is told in terms of, and the guard that leaves nothing behind.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use davit_core::id::{Attempt, AttemptKey, NodeId, TaskId};
use davit_core::spec::{Probe, RuntimeSpec, TaskSpec};
use davit_core::task::Ports;
use davit_svc_kit::clock::SystemClock;
use futures::TryStreamExt;
use uuid::Uuid;
use worker_svc::runtime::{
    AttemptSpec, Exit, InstanceState, LogLine, LogOptions, Owner, Probed, ProgressSender, Runtime, SharedClock, Started,
};

/// Nothing in this suite takes longer unless it hangs.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What an attempt is to do, whatever runs it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Script {
    /// Ends at once with this code.
    Exit(u8),
    /// Prints these lines and ends.
    Print(&'static [&'static str]),
    /// Prints `ready`, then runs until it is stopped; ends at the stop signal with 143.
    Run,
    /// Prints `ready`, then runs and ignores the stop signal.
    IgnoreStop,
    /// Can't be started.
    FailStart,
}

impl Script {
    /// For a POSIX shell; `None`: no shell can do it.
    pub(crate) fn shell(self) -> Option<String> {
        let forever = "echo ready; while :; do busybox sleep 0.05; done";
        Some(match self {
            Self::Exit(code) => format!("exit {code}"),
            Self::Print(lines) => lines.iter().map(|line| format!("echo '{line}';")).collect(),
            // Without standard error: the signal also reaches the sleep, and the shell remarks on that.
            Self::Run => format!("exec 2> /dev/null; trap 'exit 143' TERM; {forever}"),
            Self::IgnoreStop => format!("trap '' TERM; {forever}"),
            Self::FailStart => return None,
        })
    }
}

/// What a probe of an attempt is to show.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shows {
    /// That it serves.
    Healthy,
    /// That it does not.
    Failing,
    /// Nothing: it does not come to an end.
    Nothing,
}

impl Shows {
    /// As a command inside, or beside, what runs.
    pub(crate) fn command(self) -> Probe {
        let script = match self {
            Self::Healthy => "exit 0",
            Self::Failing => "echo it is; echo broken >&2; exit 3",
            Self::Nothing => "busybox sleep 600",
        };
        exec(&["busybox", "sh", "-c", script])
    }
}

pub(crate) fn exec(command: &[&str]) -> Probe {
    Probe::Exec { command: command.iter().map(|&word| word.to_owned()).collect() }
}

/// One kind of runtime under test.
pub(crate) trait Kind: Send + Sync + 'static {
    /// A worker's runtime. Runtimes of one `Kind` share their engine.
    fn runtime(&self, owner: Owner) -> Arc<dyn Runtime>;
    /// A spec that does what the script says.
    fn spec(&self, script: Script) -> TaskSpec;
    /// A spec that runs until it is stopped, and a probe that shows this of it.
    fn probed(&self, shows: Shows) -> (TaskSpec, Probe) {
        (self.spec(Script::Run), shows.command())
    }
}

/// A kind of runtime, and two nodes on its engine.
pub(crate) struct Bench {
    pub(crate) kind: Arc<dyn Kind>,
    pub(crate) owner: Owner,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) other: Arc<dyn Runtime>,
}

impl Bench {
    /// The runtime of the next worker of the node.
    pub(crate) fn kind_runtime(&self) -> Arc<dyn Runtime> {
        self.kind.runtime(self.owner.clone())
    }

    /// Puts the spec in place and starts it.
    pub(crate) async fn start(&self, spec: TaskSpec) -> (AttemptKey, Started) {
        let attempt = self.create(spec).await;
        (attempt.key, self.runtime.start(attempt.key).await.unwrap())
    }

    /// Puts the spec in place.
    pub(crate) async fn create(&self, spec: TaskSpec) -> AttemptSpec {
        self.create_with(spec, [].into()).await
    }

    /// The same, with host ports as a manager gives them.
    pub(crate) async fn create_with(&self, spec: TaskSpec, ports: Ports) -> AttemptSpec {
        let told = [("TOLD", "of itself"), ("GREETING", "what a spec sets goes before")];
        let env = told.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let attempt = AttemptSpec { key: new_key(), spec: Arc::new(spec), ports, env, files: Vec::new() };
        self.runtime.prepare(&attempt, &ProgressSender::new(None)).await.unwrap();
        self.runtime.create(&attempt).await.unwrap();
        attempt
    }

    /// Starts a script that prints `ready`, and returns when it has.
    pub(crate) async fn start_ready(&self, script: Script) -> AttemptKey {
        let (key, _) = self.start(self.kind.spec(script)).await;
        self.until_printed(key, "ready").await;
        key
    }

    /// Returns when it has printed this line.
    pub(crate) async fn until_printed(&self, key: AttemptKey, text: &str) {
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut lines = self.runtime.logs(key, follow).await.unwrap();
        while let Some(line) = lines.try_next().await.unwrap() {
            if String::from_utf8_lossy(&line.bytes).trim_end() == text {
                return;
            }
        }
        panic!("it ended without printing {text}: {:?}", self.runtime.wait(key).await);
    }

    /// Probes until it serves.
    pub(crate) async fn until_healthy(&self, key: AttemptKey, probe: &Probe) {
        while self.probe(key, probe).await != Probed::Healthy {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn probe(&self, key: AttemptKey, probe: &Probe) -> Probed {
        self.runtime.probe(key, probe, TIME_LIMIT).await.unwrap()
    }

    /// Runs the spec to its end.
    pub(crate) async fn run(&self, spec: TaskSpec) -> (AttemptKey, Exit) {
        let (key, _) = self.start(spec).await;
        (key, self.runtime.wait(key).await.unwrap())
    }

    pub(crate) async fn lines(&self, key: AttemptKey, options: LogOptions) -> Vec<LogLine> {
        self.runtime.logs(key, options).await.unwrap().try_collect().await.unwrap()
    }

    /// All output as text.
    pub(crate) async fn output(&self, key: AttemptKey) -> String {
        let lines = self.lines(key, LogOptions::default()).await;
        lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    pub(crate) async fn state(&self, key: AttemptKey) -> Option<InstanceState> {
        let all = self.runtime.list().await.unwrap();
        all.into_iter().find(|instance| instance.key == key).map(|instance| instance.state)
    }
}

/// Runs a fact, then removes whatever both nodes still have, also if the fact failed.
pub(crate) async fn check<F>(kind: impl Kind, fact: impl FnOnce(Arc<Bench>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let kind: Arc<dyn Kind> = Arc::new(kind);
    let owner = || Owner { cluster: "davit-contract".to_owned(), node_id: NodeId(unique()) };
    let (ours, others) = (owner(), owner());
    let (runtime, other) = (kind.runtime(ours.clone()), kind.runtime(others));
    let bench = Arc::new(Bench { kind, owner: ours, runtime, other });
    let outcome = tokio::spawn(tokio::time::timeout(TIME_LIMIT, fact(Arc::clone(&bench)))).await;
    for runtime in [&bench.runtime, &bench.other] {
        for instance in runtime.list().await.unwrap_or_default() {
            if let Err(error) = runtime.remove(instance.key).await {
                eprintln!("left behind: {}: {error}", instance.key);
            }
        }
    }
    match outcome {
        Ok(in_time) => in_time.expect("the fact was not shown in time"),
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

pub(crate) fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// No two are equal, also among the processes that run tests side by side.
pub(crate) fn unique() -> Uuid {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    Uuid::from_u128(u128::from(nanos) << 64 | u128::from(std::process::id()) << 32 | u128::from(count))
}

pub(crate) fn new_key() -> AttemptKey {
    AttemptKey { task_id: TaskId(unique()), attempt: Attempt::FIRST }
}

/// A spec that only says what is run.
pub(crate) fn task(runtime: RuntimeSpec) -> TaskSpec {
    TaskSpec::new("contract", runtime)
}
