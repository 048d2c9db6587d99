//! The scheduler's settings: by flag, environment and file; checked whole before a port is bound.

use std::net::SocketAddr;
use std::path::PathBuf;

use davit_core::resources::HumanBytes;
use davit_svc_kit::config::{ByteSize, ConfigError, Merge, from_file};
use davit_svc_kit::telemetry::{LogFormat, check_filter};

/// Below this a recording would hold next to nothing.
const MIN_RECORD_BYTES: u64 = 1 << 20;

/// Settings as given. Unset ones have defaults.
#[derive(Debug, Clone, Default, clap::Args, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// A TOML file with any of these settings, by the same names
    #[arg(long, env = "DAVIT_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where the API is served [default: 127.0.0.1:7410]
    #[arg(long, env = "DAVIT_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where /metrics, /healthz and /readyz are served [default: 127.0.0.1:7411]
    #[arg(long, env = "DAVIT_HTTP_LISTEN", value_name = "ADDRESS")]
    pub http_listen: Option<SocketAddr>,
    /// Records every placement stream to this file, for `davit-scheduler replay`. A recording that is there already becomes
    /// FILE.1; any other file is refused
    #[arg(long, env = "DAVIT_RECORD", value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// How large the recording gets before it becomes FILE.1 and the next begins, at least 1MiB [default: 256MiB]
    #[arg(long, env = "DAVIT_RECORD_MAX_BYTES", value_name = "SIZE")]
    pub record_max_bytes: Option<ByteSize>,
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
            record: self.record.or(file.record),
            record_max_bytes: self.record_max_bytes.or(file.record_max_bytes),
            log_format: self.log_format.or(file.log_format),
            log: self.log.or(file.log),
        }
    }
}

/// What the scheduler goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the API is served.
    pub listen: SocketAddr,
    /// Where metrics and health are served over HTTP.
    pub http_listen: SocketAddr,
    /// Where placement streams are recorded; `None`: nowhere.
    pub record: Option<PathBuf>,
    /// How large a recording gets.
    pub record_max_bytes: u64,
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
            record: settings.record,
            record_max_bytes: settings.record_max_bytes.map_or(defaults.record_max_bytes, |size| size.0),
            log_format: settings.log_format.unwrap_or(defaults.log_format),
            log: settings.log,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.listen == self.http_listen && self.listen.port() != 0 {
            let value = self.http_listen.to_string();
            let problem = "is the same as `listen`; each needs a port of its own";
            return Err(ConfigError::invalid("http-listen", &value, problem));
        }
        if self.record_max_bytes < MIN_RECORD_BYTES {
            let value = HumanBytes(self.record_max_bytes).to_string();
            return Err(ConfigError::invalid("record-max-bytes", &value, "is at least 1MiB"));
        }
        if let Some(path) = self.record.as_ref().filter(|path| path.file_name().is_none()) {
            return Err(ConfigError::invalid("record", path.display(), "names no file"));
        }
        if let Some(filter) = &self.log {
            check_filter(filter).map_err(|problem| ConfigError::invalid("log", filter, problem))?;
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7410)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 7411)),
            record: None,
            record_max_bytes: 256 << 20,
            log_format: LogFormat::Pretty,
            log: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_settings_are_the_defaults() {
        assert_eq!(Config::from_settings(Settings::default()).unwrap(), Config::default());
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (key, settings) in [
            ("http-listen", Settings { http_listen: Some(Config::default().listen), ..Settings::default() }),
            ("record-max-bytes", Settings { record_max_bytes: Some(ByteSize(5)), ..Settings::default() }),
            ("record", Settings { record: Some("".into()), ..Settings::default() }),
            ("log", Settings { log: Some("a=b=c".to_owned()), ..Settings::default() }),
            ("/no/such/file", Settings { config: Some("/no/such/file".into()), ..Settings::default() }),
        ] {
            let problem = Config::from_settings(settings).unwrap_err().to_string();
            assert!(problem.contains(key), "{key}: {problem}");
        }
    }

    #[test]
    fn both_ports_may_be_left_to_the_system() {
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let settings = Settings { listen: any, http_listen: any, ..Settings::default() };
        assert!(Config::from_settings(settings).is_ok());
    }
}
