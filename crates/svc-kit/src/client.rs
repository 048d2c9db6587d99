//! Dialing another Davit service.

use std::time::Duration;

use tonic::transport::Endpoint;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Batches and snapshots are several MB; the default window of 64 KiB would make them crawl.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// A text that is not the address of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is not an address such as 127.0.0.1:7400 or http://manager:7400: {problem}")]
pub struct AddressError {
    /// What was given.
    pub address: String,
    /// What is wrong with it.
    pub problem: String,
}

/// An endpoint for `host:port` or `http://host:port`, with a bound on connecting and keepalive on quiet connections.
///
/// # Errors
/// When it is no such address.
pub fn endpoint(address: &str) -> Result<Endpoint, AddressError> {
    let error = |problem: String| AddressError { address: address.to_owned(), problem };
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let uri: http::Uri = uri.parse().map_err(|problem: http::uri::InvalidUri| error(problem.to_string()))?;
    if uri.scheme_str() != Some("http") {
        return Err(error("only http:// is spoken".to_owned()));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(error("it has no host".to_owned()));
    }
    if uri.port_u16().is_none() {
        return Err(error("it has no port".to_owned()));
    }
    if !matches!(uri.path(), "" | "/") {
        return Err(error("it has a path".to_owned()));
    }
    let endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_with_or_without_a_scheme() {
        for address in ["127.0.0.1:7400", "http://manager:7400", "[::1]:7400", "http://manager:7400/"] {
            assert!(endpoint(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn a_bad_address_is_named_with_its_problem() {
        for (address, problem) in [
            ("manager", "no port"),
            ("https://manager:7400", "only http"),
            ("http://manager:7400/api", "path"),
            ("man ager:1", "invalid"),
            ("", ""),
        ] {
            let error = endpoint(address).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(&format!("`{address}`")), "{error}");
        }
    }
}
