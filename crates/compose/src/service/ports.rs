//! `ports` and `expose`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::keys;
use crate::model::{Port, Protocol};
use crate::read::{Context, Fields, Item, whole_number};
use crate::tree::Value;

const PROTOCOLS: [(&str, Protocol); 2] = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

/// A range has at most so many ports.
const MAX_RANGE: usize = 1000;

type Ports = RangeInclusive<u16>;

/// One entry as it is written.
struct Written {
    host_ip: Option<String>,
    published: Option<Ports>,
    target: Ports,
    protocol: Protocol,
}

/// Reads `ports`. A port that is there twice is there once; two of the container's can't have the same of the node.
pub(super) fn ports(item: Option<Item>, cx: &mut Context<'_>) -> Vec<Port> {
    let mut ports = Vec::new();
    let mut seen = BTreeSet::new();
    let mut published: BTreeMap<(u16, Protocol), u16> = BTreeMap::new();
    let Some(item) = item else { return ports };
    for item in item.items(cx) {
        let here = item.place();
        let Some(written) = entry(item, cx) else { continue };
        let expanded = match written_out(&written) {
            Ok(expanded) => expanded,
            Err(message) => {
                here.bad(message, cx);
                continue;
            }
        };
        if !cx.has_room_for(expanded.len(), 0, &here) {
            break;
        }
        for port in expanded {
            if !seen.insert(port) {
                continue;
            }
            if let Some(node_port) = port.published
                && let Some(other) = published.insert((node_port, port.protocol), port.target)
            {
                here.bad(format!("the node's port {node_port} is published for port {other} already"), cx);
                continue;
            }
            ports.push(port);
        }
    }
    ports
}

fn entry(item: Item, cx: &mut Context<'_>) -> Option<Written> {
    if matches!(item.node.value, Value::Map(_)) {
        let fields = item.fields(keys::PORT, cx)?;
        return long(fields, cx);
    }
    let written = item.parsed(short, cx)?;
    host_ip_is_any(written.host_ip.as_deref(), &item, cx).then_some(written)
}

fn long(mut fields: Fields, cx: &mut Context<'_>) -> Option<Written> {
    let target = fields.needed("target", cx).and_then(|item| item.parsed(range, cx));
    let published = fields.take("published");
    // An empty one and 0 mean any, as `docker compose config` writes it.
    let published =
        published.filter(|item| !matches!(&item.node.value, Value::Text(text) if text.is_empty() || text == "0"));
    let wanted = published.is_some();
    let published = published.and_then(|item| item.parsed(range, cx));
    let protocol = fields
        .take("protocol")
        .map(|item| item.parsed(|text| known_protocol(text).ok_or("is not known; write `tcp` or `udp`"), cx));
    if let Some(mode) = fields.take("mode") {
        mode.one_of(&[("host", ()), ("ingress", ())], cx);
    }
    if let Some(item) = fields.take("host_ip") {
        let ip = item.text(cx).map(str::to_owned);
        host_ip_is_any(ip.as_deref(), &item, cx);
    }
    for remark in ["name", "app_protocol"] {
        if let Some(item) = fields.take(remark) {
            item.text(cx);
        }
    }
    fields.finish(cx);
    if wanted && published.is_none() {
        return None;
    }
    Some(Written { host_ip: None, published, target: target?, protocol: protocol.unwrap_or(Some(Protocol::Tcp))? })
}

fn host_ip_is_any(ip: Option<&str>, item: &Item, cx: &mut Context<'_>) -> bool {
    let any = matches!(ip, None | Some("" | "0.0.0.0" | "::" | "[::]"));
    if !any {
        let message = format!(
            "the address `{}` is refused: a port is published on all addresses of the node that runs the task",
            ip.unwrap_or_default()
        );
        item.bad(message, cx);
    }
    any
}

/// Reads `[[ip:][published]:]target[/protocol]`.
fn short(text: &str) -> Result<Written, String> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol =
        known_protocol(protocol).ok_or_else(|| format!("has the protocol `{protocol}`; write `tcp` or `udp`"))?;
    let (rest, target) = match ports.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, ports),
    };
    let (host_ip, published) = match rest {
        None => (None, None),
        // An address in brackets holds colons itself.
        Some(rest) => match rest.rsplit_once(':') {
            Some((ip, published)) => (Some(ip.to_owned()), Some(published)),
            None if rest.contains('.') => (Some(rest.to_owned()), None),
            None => (None, Some(rest)),
        },
    };
    if let Some(ip) = host_ip.as_deref().filter(|ip| !is_address(ip)) {
        return Err(format!("can't be read: `{ip}` is no address; write `[[ADDRESS:]NODE_PORT:]PORT[/PROTOCOL]`"));
    }
    let part = |part: &str| range(part).map_err(|error| format!("can't be read: `{part}` {error}"));
    let published = published.filter(|published| !published.is_empty()).map(part).transpose()?;
    Ok(Written { host_ip, published, target: part(target)?, protocol })
}

/// In whatever case, as Docker takes it.
fn known_protocol(text: &str) -> Option<Protocol> {
    PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, protocol)| *protocol)
}

/// Whether it is an IP address, in brackets or not, or none at all.
fn is_address(ip: &str) -> bool {
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    ip.is_empty() || bare.parse::<IpAddr>().is_ok()
}

/// Reads `80` or `8000-8010`.
fn range(text: &str) -> Result<Ports, String> {
    let port = |text: &str| match whole_number(text, u16::MAX) {
        Ok(0) => Err("is not a port: 1 to 65535".to_owned()),
        Ok(port) => Ok(port),
        Err(error) => Err(format!("{error}; a port is 1 to 65535")),
    };
    match text.split_once('-') {
        None => port(text).map(|port| port..=port),
        Some((from, to)) => {
            let range = port(from)?..=port(to)?;
            match range.len() {
                0 => Err("ends before it begins".to_owned()),
                1..=MAX_RANGE => Ok(range),
                _ => Err(format!("has more than {MAX_RANGE} ports")),
            }
        }
    }
}

fn written_out(written: &Written) -> Result<Vec<Port>, String> {
    let Written { published, target, protocol, .. } = written;
    let protocol = *protocol;
    let Some(published) = published else {
        return Ok(target.clone().map(|target| Port { target, published: None, protocol }).collect());
    };
    if published.len() != target.len() {
        let hint = if target.len() == 1 { "; write one, or none for any free port" } else { "" };
        return Err(format!("{} ports of the node stand for {} of the container{hint}", published.len(), target.len()));
    }
    let pairs = published.clone().zip(target.clone());
    Ok(pairs.map(|(published, target)| Port { target, published: Some(published), protocol }).collect())
}

/// Reads `expose`.
pub(super) fn expose(item: Option<Item>, cx: &mut Context<'_>) -> BTreeSet<String> {
    let mut exposed = BTreeSet::new();
    let Some(item) = item else { return exposed };
    for item in item.items(cx) {
        let checked = item.parsed(
            |text| {
                let written = short(text)?;
                if written.published.is_some() {
                    Err("is a port of the node; write `ports`".to_owned())
                } else {
                    Ok(text.to_owned())
                }
            },
            cx,
        );
        exposed.extend(checked);
    }
    exposed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(Option<u16>, u16, Protocol)>, String> {
        let ports = written_out(&short(text)?)?;
        Ok(ports.into_iter().map(|port| (port.published, port.target, port.protocol)).collect())
    }

    #[test]
    fn short_forms_are_read() {
        use Protocol::{Tcp, Udp};
        for (text, expected) in [
            ("80", vec![(None, 80, Tcp)]),
            ("8080:80", vec![(Some(8080), 80, Tcp)]),
            ("8080:80/tcp", vec![(Some(8080), 80, Tcp)]),
            ("53:53/udp", vec![(Some(53), 53, Udp)]),
            ("53:53/UDP", vec![(Some(53), 53, Udp)]),
            ("3000-3001", vec![(None, 3000, Tcp), (None, 3001, Tcp)]),
            ("9090-9091:8080-8081", vec![(Some(9090), 8080, Tcp), (Some(9091), 8081, Tcp)]),
            ("0.0.0.0:80:8080", vec![(Some(80), 8080, Tcp)]),
            ("0.0.0.0::8080", vec![(None, 8080, Tcp)]),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn addresses_are_seen() {
        assert_eq!(short("127.0.0.1:80:80").ok().and_then(|written| written.host_ip).as_deref(), Some("127.0.0.1"));
        assert_eq!(short("[::1]:80:80").ok().and_then(|written| written.host_ip).as_deref(), Some("[::1]"));
        assert_eq!(short("127.0.0.1:80").ok().and_then(|written| written.host_ip).as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn what_is_no_address_is_not_called_one() {
        for text in ["80:80:80:80", "localhost:80:80", "1.2:80"] {
            assert!(read(text).is_err_and(|error| error.contains("is no address")), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_told() {
        for text in
            ["", "x", "0", "65536", "80:", "8080:80/sctp", "10-5", "8000-8010:80", "80:80-81", "-1", "80:80:", " 80"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
