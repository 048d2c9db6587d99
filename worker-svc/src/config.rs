//! The worker's settings: by flag, environment and TOML file, checked whole before a port is bound.

mod ports;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use davit_core::placement::PortRange;
use davit_core::resources::{HumanBytes, Resources};
use davit_core::spec::{check_label_key, check_label_value, check_name};
use davit_proto::convert::LONGEST_AWAY;
use davit_svc_kit::client;
use davit_svc_kit::config::{ByteSize, ConfigError, CpuMillis, HumanDuration, Labels, Merge, from_file};
use davit_svc_kit::telemetry::{self, LogFormat};
use serde::Deserialize;

pub use self::ports::{GivenPorts, ParseGivenPortsError};
use crate::collect;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7420);
const DEFAULT_HTTP_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7421);
const DEFAULT_MANAGER: &str = "http://127.0.0.1:7400";
const DEFAULT_DATA_DIR: &str = "/var/lib/davit/worker";
const DEFAULT_DOCKER_SOCKET: &str = "/var/run/docker.sock";
const STOP_TASKS_WITHIN: Duration = Duration::from_secs(30);
const DEFAULT_RETENTION: Duration = Duration::from_secs(600);
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
/// As long as a lease lasts: what must never run twice is stopped then, whoever means to be back.
const DEFAULT_AWAY_TIME: Duration = Duration::from_secs(10);
/// With less no container starts: more likely the unit was forgotten.
const MIN_BYTES: u64 = 16 << 20;
/// A look lists all images and containers of the engine.
const MIN_GC_PERIOD: Duration = Duration::from_secs(1);
/// What is left to the system of a machine whose resources are measured.
const DEFAULT_RESERVE: Resources = Resources { cpu_millis: 100, memory_bytes: 256 << 20, disk_bytes: 1 << 30 };

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
            log_format: self.log_format.or(file.log_format),
            log: self.log.or(file.log),
        }
    }
}

/// What tasks may use of the machine, dimension by dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Offered exactly, whatever is measured.
    pub cpu_millis: Option<u64>,
    /// Likewise.
    pub memory_bytes: Option<u64>,
    /// Likewise.
    pub disk_bytes: Option<u64>,
    /// Kept back where the amount is measured.
    pub reserve: Resources,
}

impl Default for Offer {
    fn default() -> Self {
        Self { cpu_millis: None, memory_bytes: None, disk_bytes: None, reserve: DEFAULT_RESERVE }
    }
}

impl Offer {
    /// Capacity and allocatable part of a machine that has `measured`. Nothing above the capacity can be allocatable, so
    /// an offer above what is measured (of a shared engine on another machine, say) raises the capacity.
    #[must_use]
    pub fn of(&self, measured: Resources) -> (Resources, Resources) {
        let rest = measured.saturating_sub(self.reserve);
        let allocatable = Resources {
            cpu_millis: self.cpu_millis.unwrap_or(rest.cpu_millis),
            memory_bytes: self.memory_bytes.unwrap_or(rest.memory_bytes),
            disk_bytes: self.disk_bytes.unwrap_or(rest.disk_bytes),
        };
        let capacity = Resources {
            cpu_millis: measured.cpu_millis.max(allocatable.cpu_millis),
            memory_bytes: measured.memory_bytes.max(allocatable.memory_bytes),
            disk_bytes: measured.disk_bytes.max(allocatable.disk_bytes),
        };
        (capacity, allocatable)
    }
}

/// Settings that were checked. What runs attempts is not among them: see [`crate::RuntimeFactory`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the manager is dialled.
    pub manager: String,
    /// The node's name.
    pub name: String,
    /// Where its published ports can be reached.
    pub address: String,
    /// Where the worker keeps its identity and records.
    pub data_dir: PathBuf,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// What tasks may use.
    pub offer: Offer,
    /// Out of which ports the node gives to tasks that ask for no certain one; `None`: it gives none.
    pub port_range: Option<PortRange>,
    /// Join a cluster for the first time only when every runtime answers; else with those that do.
    pub require_runtimes: bool,
    /// Stop all tasks when the worker stops, and remove what they left.
    pub stop_tasks_on_shutdown: bool,
    /// How long they may take before they are killed. Their own grace periods end them earlier.
    pub stop_tasks_within: Duration,
    /// Have the node drained before the worker stops, for at most so long. `None`: it is not drained.
    pub drain_on_shutdown: Option<Duration>,
    /// How long it may be away after it was stopped with tasks left running, before they are replaced; zero: no longer than one
    /// that died.
    pub away_time: Duration,
    /// How long ended attempts stay.
    pub retention: Duration,
    /// What is removed to make room on the engine's disk, and when.
    pub collection: collect::Settings,
}

impl Config {
    /// A worker with defaults for all but what has none in one process with others.
    #[must_use]
    pub fn new(manager: impl Into<String>, name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            manager: manager.into(),
            name: name.into(),
            address: "127.0.0.1".to_owned(),
            data_dir: data_dir.into(),
            labels: BTreeMap::new(),
            offer: Offer::default(),
            port_range: Some(PortRange::DEFAULT),
            require_runtimes: false,
            stop_tasks_on_shutdown: false,
            stop_tasks_within: STOP_TASKS_WITHIN,
            drain_on_shutdown: None,
            away_time: DEFAULT_AWAY_TIME,
            retention: DEFAULT_RETENTION,
            collection: collect::Settings::default(),
        }
    }
}

/// All that the program needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramConfig {
    /// The worker's.
    pub worker: Config,
    /// Where WorkerService listens.
    pub listen: SocketAddr,
    /// Where metrics and health listen.
    pub http_listen: SocketAddr,
    /// Whether containers are run.
    pub docker: DockerMode,
    /// The engine's socket.
    pub docker_socket: PathBuf,
    /// Whether processes are run.
    pub process_runtime: bool,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which are written.
    pub log: Option<String>,
}

impl Settings {
    /// Completes them by a file and by defaults, and checks all of it.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    pub fn resolve(self, file: Option<&Path>) -> Result<ProgramConfig, ConfigError> {
        let settings = from_file(self, file)?;
        if let Some(filter) = &settings.log {
            telemetry::check_filter(filter).map_err(|problem| ConfigError::invalid("log", filter, problem))?;
        }
        let collection = collection(&settings)?;
        let manager = settings.manager.unwrap_or_else(|| DEFAULT_MANAGER.to_owned());
        client::endpoint(&manager).map_err(|error| ConfigError::invalid("manager", &manager, error.problem))?;
        let name = match settings.name {
            Some(name) => name,
            None => host_name().ok_or_else(|| ConfigError::missing("name"))?,
        };
        check_name(&name).map_err(|error| ConfigError::invalid("name", &name, error))?;
        let address = settings.address.unwrap_or_else(|| own_address(&manager));
        if address.is_empty() || address.chars().any(|char| char.is_control() || char.is_whitespace()) {
            return Err(ConfigError::invalid("address", address.escape_debug(), "must be a host name or an address"));
        }
        let labels = settings.labels.unwrap_or_default().0;
        for (key, value) in &labels {
            let pair = format!("{key}={value}");
            check_label_key(key).map_err(|error| ConfigError::invalid("labels", &pair, format!("the key {error}")))?;
            check_label_value(value)
                .map_err(|error| ConfigError::invalid("labels", &pair, format!("the value {error}")))?;
        }
        let offer = Offer {
            cpu_millis: above_zero("cpus", settings.cpus.map(|cpus| cpus.0))?,
            memory_bytes: enough_bytes("memory", settings.memory)?,
            disk_bytes: enough_bytes("disk", settings.disk)?,
            reserve: Resources {
                cpu_millis: settings.reserve_cpus.map_or(DEFAULT_RESERVE.cpu_millis, |cpus| cpus.0),
                memory_bytes: settings.reserve_memory.map_or(DEFAULT_RESERVE.memory_bytes, |memory| memory.0),
                disk_bytes: settings.reserve_disk.map_or(DEFAULT_RESERVE.disk_bytes, |disk| disk.0),
            },
        };
        let listen = settings.listen.unwrap_or(DEFAULT_LISTEN);
        let http_listen = settings.http_listen.unwrap_or(DEFAULT_HTTP_LISTEN);
        if listen == http_listen && listen.port() != 0 {
            return Err(ConfigError::invalid("http-listen", http_listen, "is the same as `listen`"));
        }
        let docker = settings.docker.unwrap_or_default();
        let away_time = settings.away_time.map_or(DEFAULT_AWAY_TIME, |time| time.0);
        if away_time > LONGEST_AWAY {
            return Err(ConfigError::invalid("away-time", HumanDuration(away_time), "use at most 10m"));
        }
        let drain_timeout = settings.drain_timeout.map_or(DEFAULT_DRAIN_TIMEOUT, |timeout| timeout.0);
        let worker = Config {
            manager,
            name,
            address,
            data_dir: settings.data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR)),
            labels,
            offer,
            port_range: settings.port_range.unwrap_or_default().0,
            require_runtimes: docker == DockerMode::On,
            stop_tasks_on_shutdown: settings.stop_tasks_on_shutdown.unwrap_or(false),
            stop_tasks_within: STOP_TASKS_WITHIN,
            drain_on_shutdown: settings.drain_on_shutdown.unwrap_or(false).then_some(drain_timeout),
            away_time,
            retention: settings.retention.map_or(DEFAULT_RETENTION, |retention| retention.0),
            collection,
        };
        Ok(ProgramConfig {
            worker,
            listen,
            http_listen,
            docker,
            docker_socket: settings.docker_socket.unwrap_or_else(|| PathBuf::from(DEFAULT_DOCKER_SOCKET)),
            process_runtime: settings.process_runtime.unwrap_or(false),
            log_format: settings.log_format.unwrap_or_default(),
            log: settings.log,
        })
    }
}

fn collection(settings: &Settings) -> Result<collect::Settings, ConfigError> {
    let default = collect::Settings::default();
    let period = settings.gc_period.map_or(default.period, |period| period.0);
    if period < MIN_GC_PERIOD {
        return Err(ConfigError::invalid("gc-period", format!("{period:?}"), "must be at least 1s"));
    }
    let high_percent = settings.image_gc_high_percent.unwrap_or(default.images.high_percent);
    if high_percent > 100 {
        return Err(ConfigError::invalid(
            "image-gc-high-percent",
            high_percent,
            "must be at most 100, which means never",
        ));
    }
    // A high threshold alone moves the low one along.
    let low_percent = settings.image_gc_low_percent.unwrap_or(default.images.low_percent.min(high_percent));
    if low_percent > high_percent {
        let problem = format!("must be at most `image-gc-high-percent`, which is {high_percent}");
        return Err(ConfigError::invalid("image-gc-low-percent", low_percent, problem));
    }
    let min_age = settings.image_min_age.map_or(default.images.min_age, |age| age.0);
    let max_age = settings.image_max_age.map(|age| age.0);
    if let Some(max_age) = max_age.filter(|max_age| *max_age < min_age) {
        let problem = format!("must be at least `image-min-age`, which is {min_age:?}");
        return Err(ConfigError::invalid("image-max-age", format!("{max_age:?}"), problem));
    }
    Ok(collect::Settings {
        period,
        images: collect::Limits { high_percent, low_percent, min_age, max_age, ..default.images },
    })
}

fn above_zero(key: &'static str, amount: Option<u64>) -> Result<Option<u64>, ConfigError> {
    match amount {
        Some(0) => Err(ConfigError::invalid(key, 0, "must be above zero; leave it out to offer what is there")),
        Some(amount) if i64::try_from(amount).is_err() => Err(ConfigError::invalid(key, amount, "is too much")),
        amount => Ok(amount),
    }
}

fn enough_bytes(key: &'static str, amount: Option<ByteSize>) -> Result<Option<u64>, ConfigError> {
    match above_zero(key, amount.map(|amount| amount.0))? {
        Some(bytes) if bytes < MIN_BYTES => {
            Err(ConfigError::invalid(key, HumanBytes(bytes), "must be at least 16 MiB; was the unit left out?"))
        }
        amount => Ok(amount),
    }
}

fn host_name() -> Option<String> {
    sysinfo::System::host_name().ok().filter(|name| !name.is_empty())
}

/// The address from which this machine would reach the manager; nothing is sent to find it.
fn own_address(manager: &str) -> String {
    let authority = manager.rsplit("://").next().unwrap_or(manager).trim_end_matches('/');
    let found = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect(authority)?;
        socket.local_addr()
    });
    match found {
        Ok(address) if !address.ip().is_unspecified() => address.ip().to_string(),
        _ => "127.0.0.1".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Settings {
        Settings { name: Some("node-1".to_owned()), ..Settings::default() }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        let cases = [
            ("manager", Settings { manager: Some("nowhere".to_owned()), ..named() }),
            ("name", Settings { name: Some("white space".to_owned()), ..named() }),
            ("address", Settings { address: Some(String::new()), ..named() }),
            ("labels", Settings { labels: Some("white space=a".parse().unwrap()), ..named() }),
            ("cpus", Settings { cpus: Some(CpuMillis(0)), ..named() }),
            ("memory", Settings { memory: Some(ByteSize(u64::MAX)), ..named() }),
            ("memory", Settings { memory: Some(ByteSize(5)), ..named() }),
            ("disk", Settings { disk: Some(ByteSize(MIN_BYTES - 1)), ..named() }),
            ("gc-period", Settings { gc_period: Some(HumanDuration(Duration::ZERO)), ..named() }),
            (
                "away-time",
                Settings { away_time: Some(HumanDuration(LONGEST_AWAY + Duration::from_secs(1))), ..named() },
            ),
            ("image-gc-high-percent", Settings { image_gc_high_percent: Some(101), ..named() }),
            ("image-gc-low-percent", Settings { image_gc_low_percent: Some(86), ..named() }),
            ("image-max-age", Settings { image_max_age: Some(HumanDuration(Duration::from_secs(1))), ..named() }),
            ("log", Settings { log: Some("a=loud".to_owned()), ..named() }),
            ("http-listen", Settings { http_listen: Some(DEFAULT_LISTEN), ..named() }),
        ];
        for (key, settings) in cases {
            let error = settings.resolve(None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key} = ")), "{key}: {error}");
        }
    }

    #[test]
    fn defaults_need_no_settings() {
        let config = named().resolve(None).unwrap();
        assert_eq!((config.listen, config.docker, config.process_runtime), (DEFAULT_LISTEN, DockerMode::Auto, false));
        assert_eq!(config.worker.retention, DEFAULT_RETENTION);
        assert_eq!(config.worker.port_range, Some(PortRange::DEFAULT));
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker.toml");
        std::fs::write(&path, "name = \"from-file\"\ncpus = 2\ndocker = \"off\"\n").unwrap();
        let config = named().resolve(Some(&path)).unwrap();
        assert_eq!((config.worker.name.as_str(), config.worker.offer.cpu_millis), ("node-1", Some(2000)));
        assert_eq!(config.docker, DockerMode::Off);
        std::fs::write(&path, "nam = \"x\"\n").unwrap();
        assert!(named().resolve(Some(&path)).unwrap_err().to_string().contains("nam"));
    }

    #[test]
    fn a_range_of_ports_comes_from_the_file_too_and_a_wrong_one_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker.toml");
        let resolve = |text: &str| {
            std::fs::write(&path, text).unwrap();
            named().resolve(Some(&path)).map(|config| config.worker.port_range)
        };
        assert_eq!(resolve("port-range = \"40000-40009\"").unwrap(), PortRange::new(40_000, 40_009).ok());
        assert_eq!(resolve("port-range = \"none\"").unwrap(), None);
        let error = resolve("port-range = \"9-8\"").unwrap_err().to_string();
        assert!(error.contains("`9-8` is neither a range of ports such as 20000-31999"), "{error}");
    }

    #[test]
    fn the_reserve_is_kept_back_only_where_the_amount_is_measured() {
        let measured = Resources { cpu_millis: 2000, memory_bytes: 4 << 30, disk_bytes: 100 };
        let offer = Offer { memory_bytes: Some(8 << 30), ..Offer::default() };
        let (capacity, allocatable) = offer.of(measured);
        assert_eq!(allocatable, Resources { cpu_millis: 1900, memory_bytes: 8 << 30, disk_bytes: 0 });
        assert_eq!(capacity, Resources { memory_bytes: 8 << 30, ..measured });
    }
}
