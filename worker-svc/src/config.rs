//! The worker's settings: by flag, environment and TOML file, checked whole before a port is bound.

mod ports;
mod settings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use davit_core::placement::PortRange;
use davit_core::resources::{HumanBytes, Resources};
use davit_core::spec::{check_label_key, check_label_value, check_name};
use davit_proto::convert::LONGEST_AWAY;
use davit_svc_kit::client;
use davit_svc_kit::config::{ByteSize, ConfigError, HumanDuration, from_file};
use davit_svc_kit::telemetry::{self, LogFormat};

pub use self::ports::{GivenPorts, ParseGivenPortsError};
pub use self::settings::{DockerMode, Settings};
use crate::collect;
use crate::hollow::Hollow;
use crate::runtime::Habits;

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
/// More than one process has ports for.
const MAX_HOLLOW_NODES: u32 = 100_000;
/// What is left to the system of a machine whose resources are measured.
const DEFAULT_RESERVE: Resources = Resources { cpu_millis: 100, memory_bytes: 256 << 20, disk_bytes: 1 << 30 };

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
    /// Where configs and secrets are; `None`: where there is room in memory.
    pub files_dir: Option<PathBuf>,
    /// Whether processes are run.
    pub process_runtime: bool,
    /// Hollow nodes in place of one that runs anything.
    pub hollow: Option<Hollow>,
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
        let (collection, hollow) = (collection(&settings)?, hollow(&settings)?);
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
            files_dir: settings.files_dir,
            process_runtime: settings.process_runtime.unwrap_or(false),
            hollow,
            log_format: settings.log_format.unwrap_or_default(),
            log: settings.log,
        })
    }
}

fn hollow(settings: &Settings) -> Result<Option<Hollow>, ConfigError> {
    let percent = settings.hollow_failure_percent.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&percent) {
        return Err(ConfigError::invalid("hollow-failure-percent", percent, "use 0 to 100"));
    }
    let Some(nodes) = settings.hollow else { return Ok(None) };
    if !(1..=MAX_HOLLOW_NODES).contains(&nodes) {
        return Err(ConfigError::invalid("hollow", nodes, format!("use 1 to {MAX_HOLLOW_NODES}")));
    }
    let habits = Habits {
        start_for: settings.hollow_start_time.map_or(Duration::ZERO, |time| time.0),
        run_for: settings.hollow_run_time.map(|time| time.0),
        // At most 1000.
        failures_per_mille: (percent * 10.0).round() as u16,
    };
    Ok(Some(Hollow { nodes, habits }))
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
mod tests;
