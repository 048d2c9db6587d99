//! Published ports and the numbers of ports.

use std::collections::BTreeSet;

use davit_core::placement::PortRange;
use davit_core::spec::{Port, PortProtocol};
use davit_core::validate::Violations;

use super::enums::port_protocol_from_proto;
use super::path::{FieldPath, field, item};
use crate::v1;

/// A port's number, 1 to 65535.
pub(super) fn port_number(number: u32, path: &FieldPath<'_>, violations: &mut Violations) -> Option<u16> {
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        violations.add(path, format!("{number} is not a port; use 1 to 65535"));
    }
    port
}

/// Reads a range of host ports; none, unless given.
pub fn port_range_from_proto<'a>(
    range: Option<v1::PortRange>,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<PortRange> {
    let path = &path.into();
    let range = range?;
    let first = port_number(range.first, &field(path, "first"), violations)?;
    let last = port_number(range.last, &field(path, "last"), violations)?;
    violations.check(path, PortRange::new(first, last))
}

/// Writes a range of host ports.
#[must_use]
pub fn port_range_to_proto(range: PortRange) -> v1::PortRange {
    v1::PortRange { first: range.first().into(), last: range.last().into() }
}

/// Reads published ports, of which no two may be the same or want the same port of the node.
pub(super) fn ports_from_proto(ports: &[v1::Port], path: &FieldPath<'_>, violations: &mut Violations) -> Vec<Port> {
    let mut published: BTreeSet<(u16, PortProtocol, Option<u16>)> = BTreeSet::new();
    let mut on_host: BTreeSet<(PortProtocol, u16)> = BTreeSet::new();
    let mut read_ports = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let path = item(path, index);
        let host_path = field(&path, "host_port");
        let container_port = port_number(port.container_port, &field(&path, "container_port"), violations);
        let protocol = port_protocol_from_proto(port.protocol, field(&path, "protocol"), violations);
        let host_port = match port.host_port {
            0 => Some(None),
            number => port_number(number, &host_path, violations).map(Some),
        };
        let (Some(container_port), Some(protocol), Some(host_port)) = (container_port, protocol, host_port) else {
            continue;
        };
        if !published.insert((container_port, protocol, host_port)) {
            violations.add(path, format!("port {container_port}/{protocol} is published twice in the same way"));
        } else if let Some(number) = host_port
            && !on_host.insert((protocol, number))
        {
            violations.add(host_path, format!("port {number}/{protocol} of the node is taken twice"));
        }
        read_ports.push(Port { container_port, protocol, host_port });
    }
    read_ports
}
