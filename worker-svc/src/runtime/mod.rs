//! What runs attempts: a Docker engine, plain processes, or a fake that takes orders.
//!
//! A [`Runtime`] performs single steps and observes; it decides nothing. Every call may be repeated: creating what
//! exists, starting what runs, stopping what stopped and removing what is gone all succeed. A runtime belongs to one
//! [`Owner`] and neither sees nor touches what belongs to another, also where several workers share one engine. Two calls are
//! apart from that, for finding what nobody looks after: [`Runtime::survey`] and [`Runtime::remove_sighted`].
//!
//! Left to others: which step comes next, retries and back-off, removal of leftovers, stopping everything at shutdown.

mod change_log;
pub mod docker;
mod ending;
mod error;
pub mod fake;
mod images;
mod probing;
pub mod process;
mod sighting;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::file::{FileContent, FileGrant};
use davit_core::id::{AttemptKey, ClusterId, NodeId};
pub use davit_core::placement::RuntimeKind;
use davit_core::spec::{Port, Probe, RuntimeSpec, StopPolicy, TaskSpec};
use davit_core::task::{PortBinding, Ports, PullProgress};
use davit_svc_kit::clock::Clock;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::watch;

pub use self::docker::{DockerConfig, DockerRuntime, GuardConfig};
pub use self::error::{Error, ErrorKind};
pub use self::fake::{FakeEngine, FakeRuntime, Habits};
pub use self::images::{EngineImage, Images, PulledImage};
pub use self::probing::Probed;
pub use self::process::{ProcessConfig, ProcessRuntime};
pub use self::sighting::{Sighting, Survey};
use crate::engine_turns::StopTurns;

/// Whose instances a runtime runs and sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The cluster's name.
    pub cluster: String,
    /// The worker's node.
    pub node_id: NodeId,
}

/// Tells the time of the node. The runtimes stamp what no engine stamps for them.
pub type SharedClock = Arc<dyn Clock>;

/// Tells how far a pull is; `None` until the first report. Only the newest value counts, so a slow reader costs nothing.
pub type ProgressSender = watch::Sender<Option<PullProgress>>;

/// One attempt that is to run.
#[derive(Debug, Clone)]
pub struct AttemptSpec {
    /// Which attempt.
    pub key: AttemptKey,
    /// What is run.
    pub spec: Arc<TaskSpec>,
    /// Host ports for those of the spec that ask for no certain one, as the manager gave them.
    pub ports: Ports,
    /// Variables that tell it of itself, unless its spec sets them.
    pub env: Vec<(String, String)>,
    /// What its files hold, in the order of [`TaskSpec::files`].
    pub files: Vec<FileContent>,
}

impl AttemptSpec {
    /// Its environment: what its spec sets, and what tells it of itself but for that.
    pub fn env_of<'a>(&'a self, set: &'a BTreeMap<String, String>) -> impl Iterator<Item = (&'a str, &'a str)> {
        let told = self.env.iter().filter(|(name, _)| !set.contains_key(name)).map(|(name, value)| (name, value));
        told.chain(set).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The files of its spec, each with what it holds.
    fn given_files(&self) -> Result<Vec<(FileGrant, FileContent)>, Error> {
        let grants = self.spec.files();
        if grants.len() != self.files.len() {
            return Err(Error::Unsupported { what: "not all of its configs and secrets were given".to_owned() });
        }
        Ok(grants.iter().cloned().zip(self.files.iter().cloned()).collect())
    }

    /// What the spec publishes, each with its host port: the one it asks for, else the one that was given. `None` where
    /// none was given either: the engine chooses.
    #[must_use]
    pub fn published(&self) -> Vec<(&Port, Option<u16>)> {
        let RuntimeSpec::Container(container) = &self.spec.runtime else { return Vec::new() };
        let mut given = self.ports.clone();
        let host_port = |port: &Port| {
            let same = |one: &PortBinding| (one.container_port, one.protocol) == (port.container_port, port.protocol);
            // Each is given once, however often a container port is published.
            port.host_port.or_else(|| given.iter().position(same).map(|at| given.remove(at).host_port))
        };
        container.ports.iter().zip(container.ports.iter().map(host_port)).collect()
    }
}

/// What answers behind a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Its version, for people.
    pub version: String,
}

/// An attempt that a runtime has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Which attempt.
    pub key: AttemptKey,
    /// Where it is in its life.
    pub state: InstanceState,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceState {
    /// Created; it never started, or its start failed.
    Created,
    /// Started and not ended.
    Running(Started),
    /// Ended.
    Exited(Exit),
}

/// How an instance started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// When, by the node's clock.
    pub started_at: Timestamp,
    /// Published ports as given, sorted, each once.
    pub ports: Ports,
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// What it returned; 128 + N if signal N ended it; [`Exit::UNKNOWN_CODE`] if nobody learned it.
    pub exit_code: i32,
    /// Whether the kernel killed it for its memory.
    pub oom_killed: bool,
    /// The engine's own words, where it has some. Else empty.
    pub error: String,
    /// Whether it was stopped because the node's lease had ended, without a worker's doing.
    pub lease_ended: bool,
    /// When it started, by the node's clock, where that is known.
    pub started_at: Option<Timestamp>,
    /// When it ended, by the node's clock.
    pub finished_at: Timestamp,
}

impl Exit {
    /// Stands for an exit code that nobody knows. No process returns it.
    pub const UNKNOWN_CODE: i32 = -1;

    /// What it returned, where that is known.
    #[must_use]
    pub fn known_code(&self) -> Option<i32> {
        Some(self.exit_code).filter(|code| *code != Self::UNKNOWN_CODE)
    }
}

/// Which log lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Only the last so many lines of what is there; `None`: all that is kept.
    pub tail: Option<u64>,
    /// Go on with new lines until the instance ends.
    pub follow: bool,
    /// Only from the first line on that was written after this time. Those behind it are wanted whatever their times, which do not
    /// always rise: the later parts of a long line bear the time of the first, whatever came in between, and clocks are set.
    pub since: Option<Timestamp>,
}

impl LogOptions {
    /// Leaves out what comes before the first line that is wanted.
    fn passed_over(self, lines: impl Stream<Item = Result<LogLine, Error>> + Send + 'static) -> LogStream {
        let Some(since) = self.since else { return lines.boxed() };
        let is_before = move |line: &Result<LogLine, Error>| {
            line.as_ref().is_ok_and(|line| line.timestamp.is_some_and(|at| at <= since))
        };
        lines.skip_while(move |line| futures::future::ready(is_before(line))).boxed()
    }
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of output, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it was written to.
    pub source: LogSource,
    /// When it was read from the instance.
    pub timestamp: Option<Timestamp>,
    /// What was written. Ends with a line feed unless the line goes on in the next part or was never finished.
    pub bytes: Vec<u8>,
}

/// Log lines as they come. Ends when nothing more will come; dropping it ends the reading.
pub type LogStream = BoxStream<'static, Result<LogLine, Error>>;

/// Runs attempts. See the module for what all implementations promise; one contract suite holds them to it.
#[async_trait]
pub trait Runtime: fmt::Debug + Send + Sync {
    /// Which specs it runs.
    fn kind(&self) -> RuntimeKind;

    /// Asks whether it works at all.
    async fn check(&self) -> Result<RuntimeInfo, Error>;

    /// All instances of its owner, whatever their state, ordered by key. A restarted worker finds its attempts this way.
    async fn list(&self) -> Result<Vec<Instance>, Error>;

    /// Gets what the attempt needs before it can be created: its image, as its pull policy says.
    /// Has no total time limit, only one without progress. Dropping the future ends the pull. Answers what a pull brought.
    async fn prepare(&self, attempt: &AttemptSpec, progress: &ProgressSender) -> Result<Option<PulledImage>, Error>;

    /// Creates the attempt's instance, which publishes exactly the ports of [`AttemptSpec::published`], without starting it.
    async fn create(&self, attempt: &AttemptSpec) -> Result<(), Error>;

    /// Starts the instance. If it already runs, tells how it was started; if it ended, fails with
    /// [`Error::AlreadyExited`], since an attempt runs only once.
    async fn start(&self, key: AttemptKey) -> Result<Started, Error>;

    /// Starts an instance that has ended once more, as the same attempt: with its files and output, after which the new output
    /// comes. One that runs is left alone, and tells how it was started.
    async fn restart(&self, key: AttemptKey) -> Result<Started, Error>;

    /// Waits for the end of a started instance. Answers at once when it has ended.
    async fn wait(&self, key: AttemptKey) -> Result<Exit, Error>;

    /// Tries whether what runs serves, for so long at most. A command that takes longer is ended, where the runtime can end it, and
    /// none is begun beside one of the same attempt that still runs. An error says nothing of the instance.
    async fn probe(&self, key: AttemptKey, probe: &Probe, limit: Duration) -> Result<Probed, Error>;

    /// Sends the stop signal, and kills what still runs after the grace period. Returns when the instance has ended, with how it
    /// did; `None`: it was never started. Takes turns with other stops at what the engine has to do, though not at waiting for
    /// the end; without `turns` it waits for no others.
    async fn stop(&self, key: AttemptKey, how: &StopPolicy, turns: Option<&StopTurns>) -> Result<Option<Exit>, Error>;

    /// Takes back what the instance was given for as long as it runs, such as secrets: it has ended and is not started again. Its
    /// output stays.
    async fn take_back(&self, _key: AttemptKey) -> Result<(), Error> {
        Ok(())
    }

    /// Removes the instance with all it left (its logs too), killing it first if it runs.
    async fn remove(&self, key: AttemptKey) -> Result<(), Error>;

    /// What the instance wrote, oldest first; also after its end.
    async fn logs(&self, key: AttemptKey, options: LogOptions) -> Result<LogStream, Error>;

    /// The images that its instances are made of; `None`: they are made of none.
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    /// The id of the owner's cluster, as its manager says: instances that are created from now on are marked with it.
    fn set_cluster_id(&self, cluster_id: ClusterId);

    /// The manager has this worker as the owner's, so that what runs is its own to guard. Until then it may be that of another worker,
    /// of whose data directory this one has a copy.
    fn take_charge(&self) {}

    /// A number that grows with everything that is created, started or removed here, or ends, whoever does it. `None` where that
    /// can't be told.
    fn changes(&self) -> Option<u64> {
        None
    }

    /// All that bears the label of the owner's cluster, also where it is another node's or nobody's. One cheap question, however
    /// much there is: it is asked every few seconds. `since`: at least what of it has
    /// changed, or is gone, from when [`Runtime::changes`] was this until it was what it is now.
    async fn survey(&self, since: Option<u64>) -> Result<Survey, Error>;

    /// Ends and removes something that a survey saw, if it still is what it was then; what runs may take so long to end before it
    /// is killed. The one call that touches what is not the owner's. `false`: it was gone already, or is being removed by others.
    async fn remove_sighted(&self, sighting: &Sighting, grace: Duration) -> Result<bool, Error>;
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use davit_core::spec::{ContainerSpec, PortProtocol};
    use futures::{FutureExt as _, TryStreamExt as _, stream};

    use super::*;

    #[test]
    fn what_comes_behind_the_first_line_that_is_wanted_is_wanted_whatever_its_time() {
        let at = |nanosecond| Timestamp::from_nanosecond(nanosecond).unwrap();
        let line =
            |nanosecond| LogLine { source: LogSource::Stdout, timestamp: Some(at(nanosecond)), bytes: Vec::new() };
        let of = |lines: &[i128], since| {
            let options = LogOptions { since, ..LogOptions::default() };
            let passed_over =
                options.passed_over(stream::iter(lines.iter().map(|at| Ok(line(*at))).collect::<Vec<_>>()));
            let read: Vec<_> = passed_over.try_collect().now_or_never().unwrap().unwrap();
            read.into_iter().map(|line| line.timestamp.unwrap().as_nanosecond()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[1, 2, 2, 3, 1], None), [1, 2, 2, 3, 1]);
        assert_eq!(of(&[1, 2, 2, 3, 1], Some(at(1))), [2, 2, 3, 1]);
        assert_eq!(of(&[1, 2, 2, 3, 1], Some(at(2))), [3, 1]);
        assert_eq!(of(&[1, 2, 2, 3, 1], Some(at(3))), [0; 0]);
    }

    #[test]
    fn each_port_gets_what_it_asks_for_or_what_was_given_for_it() {
        let port = |container_port, protocol, host_port| Port { container_port, protocol, host_port };
        let given = |container_port, protocol, host_port| PortBinding { container_port, protocol, host_port };
        let container = ContainerSpec {
            ports: vec![
                port(80, PortProtocol::Tcp, None),
                port(80, PortProtocol::Tcp, Some(8080)),
                port(53, PortProtocol::Udp, None),
                port(53, PortProtocol::Tcp, None),
                port(9, PortProtocol::Tcp, None),
            ],
            ..ContainerSpec::new("busybox".parse().unwrap())
        };
        let attempt = AttemptSpec {
            env: Vec::new(),
            files: Vec::new(),
            key: AttemptKey { task_id: TaskId(uuid::Uuid::from_u128(7)), attempt: Attempt(1) },
            spec: Arc::new(TaskSpec::new("web", RuntimeSpec::Container(container))),
            ports: [
                given(80, PortProtocol::Tcp, 20_000),
                given(53, PortProtocol::Udp, 20_001),
                given(53, PortProtocol::Tcp, 20_002),
            ]
            .into(),
        };
        let host_ports: Vec<_> = attempt.published().into_iter().map(|(_, host_port)| host_port).collect();
        assert_eq!(host_ports, [Some(20_000), Some(8080), Some(20_001), Some(20_002), None]);
    }
}
