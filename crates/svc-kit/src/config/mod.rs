//! Settings by flag, by environment and by TOML file; flags win over the environment, both win over the file.
//!
//! A service has one struct of `Option` fields that is both at once, and merges the two:
//!
//! ```
//! use davit_svc_kit::config::{ConfigError, HumanDuration, Merge, from_file};
//!
//! #[derive(Debug, Default, clap::Args, serde::Deserialize)]
//! #[serde(rename_all = "kebab-case", deny_unknown_fields)]
//! struct Settings {
//!     /// How often nodes report.
//!     #[arg(long, env = "DAVIT_HEARTBEAT")]
//!     heartbeat: Option<HumanDuration>,
//! }
//!
//! impl Merge for Settings {
//!     fn merge(self, file: Self) -> Self {
//!         Self { heartbeat: self.heartbeat.or(file.heartbeat) }
//!     }
//! }
//!
//! fn resolve(flags: Settings, path: Option<&std::path::Path>) -> Result<HumanDuration, ConfigError> {
//!     let settings = from_file(flags, path)?;
//!     Ok(settings.heartbeat.unwrap_or(HumanDuration::from_secs(1)))
//! }
//! # assert!(resolve(Settings::default(), None).is_ok());
//! ```
//!
//! Everything is checked before a port is bound; what is wrong is told with its key.

mod error;
mod values;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use error::ConfigError;
pub use values::{ByteSize, CpuMillis, HumanDuration, Labels, ParseValueError};

/// Settings of which some may be unset.
pub trait Merge: Sized {
    /// Takes what is unset from the file's settings: `Self { port: self.port.or(file.port), … }`.
    #[must_use]
    fn merge(self, file: Self) -> Self;
}

/// Completes flags and environment by a file, if there is one.
///
/// # Errors
/// When the file can't be read or is wrong.
pub fn from_file<T: Merge + DeserializeOwned>(flags: T, path: Option<&Path>) -> Result<T, ConfigError> {
    match path {
        Some(path) => Ok(flags.merge(load_file(path)?)),
        None => Ok(flags),
    }
}

/// Reads a TOML file.
///
/// # Errors
/// When it can't be read or is wrong; the error names file, line, column and key.
pub fn load_file<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads the text of a TOML file.
///
/// # Errors
/// When it is wrong; the error names file, line, column and key.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| error::from_toml(path, text, &error))
}
