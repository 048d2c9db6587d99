//! The manager's settings: by flag, environment and file; checked whole before a port is bound.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use davit_core::spec::check_name;
use davit_svc_kit::config::{ByteSize, ConfigError, HumanDuration, Merge, from_file};
use davit_svc_kit::telemetry::{LogFormat, check_filter};

use crate::state::KeptEvents;

/// Settings as given. Unset ones have defaults.
#[derive(Debug, Clone, Default, clap::Args, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// A TOML file with any of these settings, by the same names
    #[arg(long, env = "DAVIT_CONFIG", value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where the API and the workers' sessions are served [default: 127.0.0.1:7400]
    #[arg(long, env = "DAVIT_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where /metrics, /healthz and /readyz are served [default: 127.0.0.1:7401]
    #[arg(long, env = "DAVIT_HTTP_LISTEN", value_name = "ADDRESS")]
    pub http_listen: Option<SocketAddr>,
    /// The scheduler's address, or several with commas between: when one breaks, the next is dialled
    /// [default: http://127.0.0.1:7410]
    #[arg(long, env = "DAVIT_SCHEDULER", value_name = "URL")]
    pub scheduler: Option<String>,
    /// The cluster's name; containers are labelled with it [default: davit]
    #[arg(long, env = "DAVIT_CLUSTER", value_name = "NAME", global = true)]
    pub cluster: Option<String>,
    /// How nodes are scored where a task does not say: spread, binpack, epvm, epvm-classic, least-stranded or round-robin
    /// [default: spread]
    #[arg(long, env = "DAVIT_ALGORITHM", value_name = "NAME")]
    pub algorithm: Option<String>,
    /// Where the cluster's state is kept; a directory of its own [default: /var/lib/davit/manager]
    #[arg(long, env = "DAVIT_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// What keeps the state: fjall, in the data directory, or memory, which a restart empties [default: fjall]
    #[arg(long, env = "DAVIT_STORE", value_name = "KIND")]
    pub store: Option<StoreKind>,
    /// How often workers send heartbeats, up to 1.4 times as far apart among more than 1,000 nodes; a node is down after three such
    /// periods of silence [default: 1s]
    #[arg(long, env = "DAVIT_HEARTBEAT_PERIOD", value_name = "DURATION")]
    pub heartbeat_period: Option<HumanDuration>,
    /// How long a node that is cut off may go on running tasks that must never run twice (on_node_loss stop_and_replace);
    /// then it stops them, and a little later they are placed elsewhere [default: 10s]
    #[arg(long, env = "DAVIT_LEASE_DURATION", value_name = "DURATION")]
    pub lease_duration: Option<HumanDuration>,
    /// How long workers get to come back after a start of the manager, before their nodes are called down and anything is
    /// placed anew [default: 10s]
    #[arg(long, env = "DAVIT_RESTART_GRACE", value_name = "DURATION")]
    pub restart_grace: Option<HumanDuration>,
    /// How long a node may be unable to begin what it was given, because its engine or its worker's disk fails, before that goes
    /// elsewhere [default: 30s]
    #[arg(long, env = "DAVIT_BEGIN_TIMEOUT", value_name = "DURATION")]
    pub begin_timeout: Option<HumanDuration>,
    /// How many events are kept for watchers that resume [default: 100000]
    #[arg(long, env = "DAVIT_KEPT_EVENTS", value_name = "COUNT")]
    pub kept_events: Option<usize>,
    /// How many bytes these events may take, with specs of tasks that are deleted; the oldest go [default: 512MiB]
    #[arg(long, env = "DAVIT_KEPT_EVENT_BYTES", value_name = "BYTES")]
    pub kept_event_bytes: Option<ByteSize>,
    /// How many tasks there may be, ended ones included; a create beyond it is refused. Count with 1 to 2 KiB of memory for each
    /// [default: 2000000]
    #[arg(long, env = "DAVIT_MAX_TASKS", value_name = "COUNT")]
    pub max_tasks: Option<u64>,
    /// How many bytes the specs of all tasks may take, each content counted once; a create beyond it is refused [default: 1GiB]
    #[arg(long, env = "DAVIT_MAX_SPEC_BYTES", value_name = "BYTES")]
    pub max_spec_bytes: Option<ByteSize>,
    /// How long events are kept [default: 24h]
    #[arg(long, env = "DAVIT_EVENT_RETENTION", value_name = "DURATION")]
    pub event_retention: Option<HumanDuration>,
    /// How many ended tasks are kept [default: 100000]
    #[arg(long, env = "DAVIT_KEPT_FINISHED_TASKS", value_name = "COUNT")]
    pub kept_finished_tasks: Option<usize>,
    /// How long ended tasks are kept [default: 24h]
    #[arg(long, env = "DAVIT_FINISHED_TASK_RETENTION", value_name = "DURATION")]
    pub finished_task_retention: Option<HumanDuration>,
    /// How logs are written [default: pretty]
    #[arg(long, env = "DAVIT_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged, such as info or debug,h2=warn [default: info]
    #[arg(long, env = "DAVIT_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

impl Merge for Settings {
    fn merge(self, file: Self) -> Self {
        Self {
            config: self.config,
            listen: self.listen.or(file.listen),
            http_listen: self.http_listen.or(file.http_listen),
            scheduler: self.scheduler.or(file.scheduler),
            cluster: self.cluster.or(file.cluster),
            algorithm: self.algorithm.or(file.algorithm),
            data_dir: self.data_dir.or(file.data_dir),
            store: self.store.or(file.store),
            heartbeat_period: self.heartbeat_period.or(file.heartbeat_period),
            lease_duration: self.lease_duration.or(file.lease_duration),
            restart_grace: self.restart_grace.or(file.restart_grace),
            begin_timeout: self.begin_timeout.or(file.begin_timeout),
            kept_events: self.kept_events.or(file.kept_events),
            kept_event_bytes: self.kept_event_bytes.or(file.kept_event_bytes),
            max_tasks: self.max_tasks.or(file.max_tasks),
            max_spec_bytes: self.max_spec_bytes.or(file.max_spec_bytes),
            event_retention: self.event_retention.or(file.event_retention),
            kept_finished_tasks: self.kept_finished_tasks.or(file.kept_finished_tasks),
            finished_task_retention: self.finished_task_retention.or(file.finished_task_retention),
            log_format: self.log_format.or(file.log_format),
            log: self.log.or(file.log),
        }
    }
}

/// What keeps the cluster's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// An embedded store in the data directory.
    #[default]
    Fjall,
    /// Nothing but memory.
    Memory,
}

/// What the manager goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the API is served.
    pub listen: SocketAddr,
    /// Where metrics and health are served over HTTP.
    pub http_listen: SocketAddr,
    /// Where schedulers are dialled: the first, and the next when one breaks. At least one.
    pub scheduler: Vec<String>,
    /// The cluster's name.
    pub cluster: String,
    /// Whether it was given, and is no default.
    pub names_cluster: bool,
    /// The algorithm that nodes are scored by.
    pub algorithm: String,
    /// Where the cluster's state is kept.
    pub data_dir: PathBuf,
    /// What keeps it.
    pub store: StoreKind,
    /// How often workers send heartbeats.
    pub heartbeat_period: Duration,
    /// How long a node's lease lasts from the last heartbeat that was acknowledged.
    pub lease_duration: Duration,
    /// How long workers get to come back after a start of the manager.
    pub restart_grace: Duration,
    /// How long a node may be unable to begin what it was given.
    pub begin_timeout: Duration,
    /// How many events are kept.
    pub kept_events: usize,
    /// How many bytes they may take.
    pub kept_event_bytes: u64,
    /// How many tasks there may be, ended ones included.
    pub max_tasks: u64,
    /// How many bytes the specs of all tasks may take.
    pub max_spec_bytes: u64,
    /// How long events are kept.
    pub event_retention: Duration,
    /// How many ended tasks are kept.
    pub kept_finished_tasks: usize,
    /// How long ended tasks are kept.
    pub finished_task_retention: Duration,
    /// How logs are written.
    pub log_format: LogFormat,
    /// What is logged; `None` is the default.
    pub log: Option<String>,
}

impl Config {
    /// Completes and checks settings.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        let path = settings.config.clone();
        let settings = from_file(settings, path.as_deref())?;
        let defaults = Self::default();
        let config = Self {
            listen: settings.listen.unwrap_or(defaults.listen),
            http_listen: settings.http_listen.unwrap_or(defaults.http_listen),
            scheduler: settings.scheduler.map_or(defaults.scheduler, |given| addresses(&given)),
            names_cluster: settings.cluster.is_some(),
            cluster: settings.cluster.unwrap_or(defaults.cluster),
            algorithm: settings.algorithm.unwrap_or(defaults.algorithm),
            data_dir: settings.data_dir.unwrap_or(defaults.data_dir),
            store: settings.store.unwrap_or(defaults.store),
            heartbeat_period: settings.heartbeat_period.map_or(defaults.heartbeat_period, |period| period.0),
            lease_duration: settings.lease_duration.map_or(defaults.lease_duration, |lease| lease.0),
            restart_grace: settings.restart_grace.map_or(defaults.restart_grace, |grace| grace.0),
            begin_timeout: settings.begin_timeout.map_or(defaults.begin_timeout, |timeout| timeout.0),
            kept_events: settings.kept_events.unwrap_or(defaults.kept_events),
            kept_event_bytes: settings.kept_event_bytes.map_or(defaults.kept_event_bytes, |size| size.0),
            max_tasks: settings.max_tasks.unwrap_or(defaults.max_tasks),
            max_spec_bytes: settings.max_spec_bytes.map_or(defaults.max_spec_bytes, |size| size.0),
            event_retention: settings.event_retention.map_or(defaults.event_retention, |retention| retention.0),
            kept_finished_tasks: settings.kept_finished_tasks.unwrap_or(defaults.kept_finished_tasks),
            finished_task_retention: settings
                .finished_task_retention
                .map_or(defaults.finished_task_retention, |retention| retention.0),
            log_format: settings.log_format.unwrap_or(defaults.log_format),
            log: settings.log,
        };
        config.check()?;
        Ok(config)
    }

    /// The cluster's name, if it was given: what backups are held against.
    #[must_use]
    pub fn named_cluster(&self) -> Option<&str> {
        self.names_cluster.then_some(self.cluster.as_str())
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_name(&self.cluster).map_err(|problem| ConfigError::invalid("cluster", &self.cluster, problem))?;
        if self.scheduler.is_empty() {
            return Err(ConfigError::invalid("scheduler", "", "at least one address is needed"));
        }
        for address in &self.scheduler {
            davit_svc_kit::client::endpoint(address)
                .map_err(|problem| ConfigError::invalid("scheduler", address, problem))?;
        }
        // Which algorithms there are is for the scheduler to say, once it is dialled.
        if self.algorithm.is_empty() {
            return Err(ConfigError::invalid("algorithm", "", "a name is needed, such as spread"));
        }
        let allowed = Duration::from_millis(100)..=Duration::from_secs(60);
        if !allowed.contains(&self.heartbeat_period) {
            let value = HumanDuration(self.heartbeat_period).to_string();
            return Err(ConfigError::invalid("heartbeat-period", &value, "use 100ms to 1m"));
        }
        // A lease that is not renewed by an ordinary heartbeat in time would stop tasks of nodes that are well.
        let shortest = self.heartbeat_period * 3;
        if self.lease_duration < shortest || self.lease_duration > Duration::from_secs(3600) {
            let value = HumanDuration(self.lease_duration).to_string();
            let allowed = format!("use {} (three heartbeat periods) to 1h", HumanDuration(shortest));
            return Err(ConfigError::invalid("lease-duration", &value, allowed));
        }
        if self.restart_grace > Duration::from_secs(600) {
            let value = HumanDuration(self.restart_grace).to_string();
            return Err(ConfigError::invalid("restart-grace", &value, "use at most 10m"));
        }
        let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
        if !allowed.contains(&self.begin_timeout) {
            let value = HumanDuration(self.begin_timeout).to_string();
            return Err(ConfigError::invalid("begin-timeout", &value, "use 1s to 1h"));
        }
        if self.max_tasks == 0 {
            return Err(ConfigError::invalid("max-tasks", "0", "at least one task must be allowed"));
        }
        if self.max_spec_bytes == 0 {
            return Err(ConfigError::invalid("max-spec-bytes", "0", "a task needs a spec"));
        }
        if self.kept_events == 0 {
            return Err(ConfigError::invalid("kept-events", "0", "at least one event must be kept"));
        }
        if self.kept_event_bytes == 0 {
            return Err(ConfigError::invalid("kept-event-bytes", "0", "at least one event must be kept"));
        }
        if self.listen == self.http_listen && self.listen.port() != 0 {
            let value = self.http_listen.to_string();
            return Err(ConfigError::invalid(
                "http-listen",
                &value,
                "is the same as `listen`; each needs a port of its own",
            ));
        }
        if let Some(filter) = &self.log {
            check_filter(filter).map_err(|problem| ConfigError::invalid("log", filter, problem))?;
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        let kept_events = KeptEvents::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            scheduler: vec!["http://127.0.0.1:7410".to_owned()],
            cluster: "davit".to_owned(),
            names_cluster: false,
            algorithm: "spread".to_owned(),
            data_dir: PathBuf::from("/var/lib/davit/manager"),
            store: StoreKind::Fjall,
            heartbeat_period: Duration::from_secs(1),
            lease_duration: Duration::from_secs(10),
            restart_grace: Duration::from_secs(10),
            begin_timeout: Duration::from_secs(30),
            kept_events: kept_events.count,
            kept_event_bytes: kept_events.bytes,
            max_tasks: 2_000_000,
            max_spec_bytes: 1 << 30,
            event_retention: Duration::from_secs(24 * 60 * 60),
            kept_finished_tasks: 100_000,
            finished_task_retention: Duration::from_secs(24 * 60 * 60),
            log_format: LogFormat::Pretty,
            log: None,
        }
    }
}

/// The addresses of a list with commas.
fn addresses(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
