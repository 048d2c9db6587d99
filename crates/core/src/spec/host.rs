//! Names and addresses of hosts, as containers know them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest name by which a machine calls itself: Linux has room for no more.
pub const MAX_HOSTNAME_BYTES: usize = 64;
/// The longest name that DNS has, in bytes.
const MAX_HOST_NAME_BYTES: usize = 253;
/// The longest part between dots, in bytes.
const MAX_LABEL_BYTES: usize = 63;
/// What stands for the node's own address.
const HOST_GATEWAY: &str = "host-gateway";

/// Why a text can't be a host's name or address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseHostError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Too long.
    #[error("has at most {max} bytes, this one has {len}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// No name.
    #[error(
        "`{text}` is not a host's name: between dots it has 1 to 63 ASCII letters, digits and - _ and neither starts nor ends with -"
    )]
    NotAName {
        /// The beginning of the text.
        text: String,
    },
    /// No address.
    #[error("`{text}` is not an address; write an IPv4 or IPv6 address, or host-gateway for that of the node")]
    NotAnAddress {
        /// The beginning of the text.
        text: String,
    },
}

/// A name that a container has an address for without asking anyone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; it may have others besides.
    pub address: HostAddress,
}

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostAddress {
    /// At this address.
    Ip(IpAddr),
    /// It is the node that the container is on.
    Gateway,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Gateway => f.write_str(HOST_GATEWAY),
        }
    }
}

impl FromStr for HostAddress {
    type Err = ParseHostError;

    /// Reads an address, or `host-gateway`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err(ParseHostError::Empty),
            HOST_GATEWAY => Ok(Self::Gateway),
            _ => text.parse().map(Self::Ip).map_err(|_| ParseHostError::NotAnAddress { text: beginning(text) }),
        }
    }
}

/// Checks the name of a host.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_host_name(text: &str) -> Result<(), ParseHostError> {
    check(text, MAX_HOST_NAME_BYTES)
}

/// Checks what a container calls itself.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_hostname(text: &str) -> Result<(), ParseHostError> {
    check(text, MAX_HOSTNAME_BYTES)
}

fn check(text: &str, max: usize) -> Result<(), ParseHostError> {
    if text.is_empty() {
        return Err(ParseHostError::Empty);
    }
    if text.len() > max {
        return Err(ParseHostError::TooLong { len: text.len(), max });
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.split('.').all(is_label) { Ok(()) } else { Err(ParseHostError::NotAName { text: beginning(text) }) }
}

/// Enough of a text to know it again.
fn beginning(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hosts_are_checked() {
        for name in ["db", "host.docker.internal", "a-b_c.1", &"a".repeat(63)] {
            assert_eq!(check_host_name(name), Ok(()), "{name}");
            assert_eq!(check_hostname(name), Ok(()), "{name}");
        }
        let long = format!("{}.{}", "a".repeat(63), "b".repeat(63));
        assert_eq!(check_host_name(&long), Ok(()));
        assert_eq!(check_hostname(&long), Err(ParseHostError::TooLong { len: 127, max: 64 }));
        assert_eq!(check_host_name(&"a.".repeat(150)), Err(ParseHostError::TooLong { len: 300, max: 253 }));
        assert_eq!(check_host_name(""), Err(ParseHostError::Empty));
        for name in ["-a", "a-", "a..b", ".a", "a.", "a b", "a:b", "ä", "a\n", &"a".repeat(64)] {
            assert!(matches!(check_host_name(name), Err(ParseHostError::NotAName { .. })), "{name}");
        }
    }

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in
            [("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("FE80:0::1", "fe80::1"), ("host-gateway", "host-gateway")]
        {
            let address: HostAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), written);
        }
        for text in ["10.0.0", "10.0.0.1/8", "[::1]", "gateway", "10.0.0.256", "fe80::1%eth0"] {
            let error = text.parse::<HostAddress>().unwrap_err();
            assert!(matches!(error, ParseHostError::NotAnAddress { .. }), "{text}");
        }
        assert_eq!("".parse::<HostAddress>(), Err(ParseHostError::Empty));
    }
}
