//! The settings as they are given, by flags, environment and file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use davit_svc_kit::config::{ByteSize, CpuMillis, HumanDuration, Labels, Merge};
use davit_svc_kit::telemetry::LogFormat;
use serde::Deserialize;

use super::GivenPorts;

/// Whether containers are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DockerMode {
    /// Where a Docker engine answers.
    #[default]
    Auto,
    /// Always: the worker joins a cluster for the first time only when the engine answers.
    On,
    /// Never.
    Off,
}

/// Settings as given; each may be unset.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Where WorkerService listens [default: 127.0.0.1:7420].
    #[arg(long, env = "DAVIT_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Where metrics and health listen [default: 127.0.0.1:7421].
    #[arg(long, env = "DAVIT_HTTP_LISTEN", global = true)]
    pub http_listen: Option<SocketAddr>,
    /// The manager's address [default: http://127.0.0.1:7400].
    #[arg(long, env = "DAVIT_MANAGER")]
    pub manager: Option<String>,
    /// The node's name, unique in the cluster [default: the host's name].
    #[arg(long, env = "DAVIT_NAME")]
    pub name: Option<String>,
    /// Where published ports of this node can be reached [default: the address towards the manager].
    #[arg(long, env = "DAVIT_ADDRESS")]
    pub address: Option<String>,
    /// Where the worker keeps its identity and records [default: /var/lib/davit/worker].
    #[arg(long, env = "DAVIT_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Labels of the node, such as zone=a,disk=ssd.
    #[arg(long, env = "DAVIT_LABELS")]
    pub labels: Option<Labels>,
    /// Cores that tasks may use [default: what is there, less the reserve].
    #[arg(long, env = "DAVIT_CPUS")]
    pub cpus: Option<CpuMillis>,
    /// Memory that tasks may use [default: what is there, less the reserve].
    #[arg(long, env = "DAVIT_MEMORY")]
    pub memory: Option<ByteSize>,
    /// Disk that tasks may use [default: what is there, less the reserve].
    #[arg(long, env = "DAVIT_DISK")]
    pub disk: Option<ByteSize>,
    /// Cores left to the system where --cpus is not set [default: 0.1].
    #[arg(long, env = "DAVIT_RESERVE_CPUS")]
    pub reserve_cpus: Option<CpuMillis>,
    /// Memory left to the system where --memory is not set [default: 256MiB].
    #[arg(long, env = "DAVIT_RESERVE_MEMORY")]
    pub reserve_memory: Option<ByteSize>,
    /// Disk left to the system where --disk is not set [default: 1GiB].
    #[arg(long, env = "DAVIT_RESERVE_DISK")]
    pub reserve_disk: Option<ByteSize>,
    /// Host ports given to tasks that publish a port and ask for no certain one; a range, or none
    /// [default: 20000-31999]. Workers that share a machine or an engine need ranges apart.
    #[arg(long, env = "DAVIT_PORT_RANGE")]
    pub port_range: Option<GivenPorts>,
    /// Whether containers are run [default: auto].
    #[arg(long, env = "DAVIT_DOCKER", value_enum)]
    pub docker: Option<DockerMode>,
    /// The Docker engine's socket [default: /var/run/docker.sock].
    #[arg(long, env = "DAVIT_DOCKER_SOCKET")]
    pub docker_socket: Option<PathBuf>,
    /// Where configs and secrets are while containers need them: a directory in memory that the engine has at the same path
    /// [default: /run/davit, or /dev/shm/davit where that is not in memory].
    #[arg(long, env = "DAVIT_FILES_DIR")]
    pub files_dir: Option<PathBuf>,
    /// Run plain processes too: whoever may create tasks may then run programs here [default: false].
    #[arg(long, env = "DAVIT_PROCESS_RUNTIME", num_args = 0..=1, default_missing_value = "true")]
    pub process_runtime: Option<bool>,
    /// Stop all tasks when the worker is stopped and remove what they left, instead of letting them run
    /// [default: false]. It then takes as long as the slowest task's grace period to stop, at most about 35 s.
    #[arg(long, env = "DAVIT_STOP_TASKS_ON_SHUTDOWN", num_args = 0..=1, default_missing_value = "true")]
    pub stop_tasks_on_shutdown: Option<bool>,
    /// Have the node drained when the worker is stopped: tasks move to other nodes first, and what fits nowhere else is
    /// then treated as without this [default: false]. A second signal ends the worker at once.
    #[arg(long, env = "DAVIT_DRAIN_ON_SHUTDOWN", num_args = 0..=1, default_missing_value = "true")]
    pub drain_on_shutdown: Option<bool>,
    /// How long --drain-on-shutdown waits at most [default: 5m].
    #[arg(long, env = "DAVIT_DRAIN_TIMEOUT")]
    pub drain_timeout: Option<HumanDuration>,
    /// How long the worker may be away after it was stopped, while its tasks run on, before its node is called down and they
    /// are replaced [default: 10s, at most 10m]. Not with --stop-tasks-on-shutdown. 0s: it is missed as soon as one that died.
    #[arg(long, env = "DAVIT_AWAY_TIME")]
    pub away_time: Option<HumanDuration>,
    /// How long ended attempts and their output stay [default: 10m].
    #[arg(long, env = "DAVIT_RETENTION")]
    pub retention: Option<HumanDuration>,
    /// How often it is looked whether images and, on a full disk, what ended attempts left can be removed [default: 1m].
    #[arg(long, env = "DAVIT_GC_PERIOD")]
    pub gc_period: Option<HumanDuration>,
    /// From this share of the engine's disk on, images that this worker pulled and nobody uses are removed, the longest unused
    /// first, and what ended attempts left as well. 100: never [default: 85].
    #[arg(long, env = "DAVIT_IMAGE_GC_HIGH_PERCENT")]
    pub image_gc_high_percent: Option<u8>,
    /// Images are removed until no more than this share of the disk is used [default: 80].
    #[arg(long, env = "DAVIT_IMAGE_GC_LOW_PERCENT")]
    pub image_gc_low_percent: Option<u8>,
    /// How long an image stays at least since it was pulled or used, however full the disk is [default: 10m].
    #[arg(long, env = "DAVIT_IMAGE_MIN_AGE")]
    pub image_min_age: Option<HumanDuration>,
    /// An image that this worker pulled and that nobody used for so long is removed, however empty the disk is
    /// [default: it stays].
    #[arg(long, env = "DAVIT_IMAGE_MAX_AGE")]
    pub image_max_age: Option<HumanDuration>,
    /// Be that many hollow nodes, NAME-0 and so on, in place of one: workers that pretend to run what they are given and keep
    /// everything in memory, to see how a cluster of that size goes. At most 100000.
    #[arg(long, env = "DAVIT_HOLLOW", value_name = "N")]
    pub hollow: Option<u32>,
    /// How long a start takes on hollow nodes [default: 0s].
    #[arg(long, env = "DAVIT_HOLLOW_START_TIME")]
    pub hollow_start_time: Option<HumanDuration>,
    /// After how long tasks of hollow nodes complete [default: they run until they are stopped].
    #[arg(long, env = "DAVIT_HOLLOW_RUN_TIME")]
    pub hollow_run_time: Option<HumanDuration>,
    /// How many of a hundred attempts on hollow nodes fail as soon as they run; may have one decimal [default: 0].
    #[arg(long, env = "DAVIT_HOLLOW_FAILURE_PERCENT")]
    pub hollow_failure_percent: Option<f64>,
    /// How log lines look [default: pretty].
    #[arg(long, env = "DAVIT_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Log filter such as info,worker_svc=debug [default: info].
    #[arg(long, env = "DAVIT_LOG")]
    pub log: Option<String>,
}

impl Merge for Settings {
    fn merge(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            http_listen: self.http_listen.or(file.http_listen),
            manager: self.manager.or(file.manager),
            name: self.name.or(file.name),
            address: self.address.or(file.address),
            data_dir: self.data_dir.or(file.data_dir),
            labels: self.labels.or(file.labels),
            cpus: self.cpus.or(file.cpus),
            memory: self.memory.or(file.memory),
            disk: self.disk.or(file.disk),
            reserve_cpus: self.reserve_cpus.or(file.reserve_cpus),
            reserve_memory: self.reserve_memory.or(file.reserve_memory),
            reserve_disk: self.reserve_disk.or(file.reserve_disk),
            port_range: self.port_range.or(file.port_range),
            docker: self.docker.or(file.docker),
            docker_socket: self.docker_socket.or(file.docker_socket),
            files_dir: self.files_dir.or(file.files_dir),
            process_runtime: self.process_runtime.or(file.process_runtime),
            stop_tasks_on_shutdown: self.stop_tasks_on_shutdown.or(file.stop_tasks_on_shutdown),
            drain_on_shutdown: self.drain_on_shutdown.or(file.drain_on_shutdown),
            drain_timeout: self.drain_timeout.or(file.drain_timeout),
            away_time: self.away_time.or(file.away_time),
            retention: self.retention.or(file.retention),
            gc_period: self.gc_period.or(file.gc_period),
            image_gc_high_percent: self.image_gc_high_percent.or(file.image_gc_high_percent),
            image_gc_low_percent: self.image_gc_low_percent.or(file.image_gc_low_percent),
            image_min_age: self.image_min_age.or(file.image_min_age),
            image_max_age: self.image_max_age.or(file.image_max_age),
            hollow: self.hollow.or(file.hollow),
            hollow_start_time: self.hollow_start_time.or(file.hollow_start_time),
            hollow_run_time: self.hollow_run_time.or(file.hollow_run_time),
            hollow_failure_percent: self.hollow_failure_percent.or(file.hollow_failure_percent),
            log_format: self.log_format.or(file.log_format),
            log: self.log.or(file.log),
        }
    }
}
