//! The setting that says which ports a node gives out.

use std::fmt;
use std::str::FromStr;

use davit_core::placement::PortRange;
use serde::{Deserialize, Deserializer, de::Error as _};

/// Host ports that a node gives to tasks which ask for none in particular: a range such as `20000-31999`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenPorts(pub Option<PortRange>);

impl Default for GivenPorts {
    fn default() -> Self {
        Self(Some(PortRange::DEFAULT))
    }
}

/// A text that says no ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither a range of ports such as 20000-31999 (1 to 65535, the lower one first) nor `none`")]
pub struct ParseGivenPortsError {
    text: String,
}

impl FromStr for GivenPorts {
    type Err = ParseGivenPortsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "none" => Ok(Self(None)),
            range => match range.parse() {
                Ok(range) => Ok(Self(Some(range))),
                Err(_) => Err(ParseGivenPortsError { text: text.escape_debug().to_string() }),
            },
        }
    }
}

impl fmt::Display for GivenPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(range) => range.fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl<'de> Deserialize<'de> for GivenPorts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_or_none_is_read_as_it_is_printed() {
        for text in ["20000-31999", "1-1", "1-65535", "none"] {
            assert_eq!(text.parse::<GivenPorts>().unwrap().to_string(), text);
        }
        assert_eq!(GivenPorts::default().to_string(), "20000-31999");
    }

    #[test]
    fn anything_else_is_told_with_what_would_be_right() {
        for text in ["", "None at all", "0-5", "9-8", "1-65536", "20000", "20000:31999"] {
            let error = text.parse::<GivenPorts>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is neither")), "{error}");
        }
    }
}
