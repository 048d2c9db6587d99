//! Logs and spans, on standard error.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object per line, for programs.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is not a log format: use `pretty` or `json`")),
        }
    }
}

/// The filter in force when none is given.
pub const DEFAULT_FILTER: &str = "info";

/// Whether a text is a log filter such as `info,davit_worker=debug`.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}

/// Starts logging. Does nothing when it was started before, so that one process can host several services.
///
/// `filter` is as [`check_filter`] accepts it; a bad one is replaced by [`DEFAULT_FILTER`] and complained about.
pub fn init(format: LogFormat, filter: Option<&str>) {
    let asked = filter.unwrap_or(DEFAULT_FILTER);
    let parsed = EnvFilter::try_new(asked);
    let bad = parsed.as_ref().err().map(ToString::to_string);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER)))
        .with_span_events(FmtSpan::NONE)
        .with_writer(io::stderr);
    // An error means that logging runs already.
    let started = match format {
        LogFormat::Pretty => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => builder.json().with_current_span(true).with_span_list(true).try_init(),
    };
    if let (Ok(()), Some(error)) = (started, bad) {
        tracing::warn!(filter = asked, error, "bad log filter; using `{DEFAULT_FILTER}`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_twice_is_harmless() {
        init(LogFormat::Json, None);
        init(LogFormat::Pretty, Some("debug"));
    }

    #[test]
    fn a_bad_filter_is_told() {
        assert!(check_filter("info,davit=debug").is_ok());
        assert!(check_filter("davit=loud").is_err());
    }
}
