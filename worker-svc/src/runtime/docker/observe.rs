//! From what the engine tells of a container to ours. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum};
use davit_core::spec::PortProtocol;
use davit_core::task::{PortBinding, Ports};
use jiff::Timestamp;

use crate::runtime::{Exit, InstanceState, Started};

/// Where the container is in its life. `now` stands in for a time that the engine does not tell.
pub(super) fn state(inspected: &ContainerInspectResponse, now: Timestamp) -> InstanceState {
    let Some(state) = &inspected.state else { return InstanceState::Created };
    let started_at = time(state.started_at.as_deref());
    match state.status {
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::RESTARTING
            | ContainerStateStatusEnum::STOPPING,
        ) => InstanceState::Running(Started { started_at: started_at.unwrap_or(now), ports: ports(inspected) }),
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => {
            InstanceState::Exited(exit(state, started_at, now))
        }
        // A container on its way out counts as ended if it ever ran.
        Some(ContainerStateStatusEnum::REMOVING) if started_at.is_some() => {
            InstanceState::Exited(exit(state, started_at, now))
        }
        // A start that failed leaves "created" with an exit code.
        _ => InstanceState::Created,
    }
}

fn exit(state: &ContainerState, started_at: Option<Timestamp>, now: Timestamp) -> Exit {
    Exit {
        exit_code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1),
        oom_killed: state.oom_killed.unwrap_or(false),
        lease_ended: false,
        error: state.error.clone().unwrap_or_default(),
        started_at,
        // Of a very short run the engine may note the end before the start.
        finished_at: time(state.finished_at.as_deref()).unwrap_or(now).max(started_at.unwrap_or(Timestamp::MIN)),
    }
}

/// The engine writes the year 1 for "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// Where the container is reached from its node: its address on the first of its networks that gives it one. `None`: it has none of
/// its own.
pub(super) fn address(inspected: &ContainerInspectResponse) -> Option<IpAddr> {
    let mut networks: Vec<_> = inspected.network_settings.as_ref()?.networks.as_ref()?.iter().collect();
    networks.sort_unstable_by_key(|(name, _)| name.as_str());
    let of_kind = |six: bool| {
        networks.iter().find_map(|(_, network)| {
            let address = if six { &network.global_ipv6_address } else { &network.ip_address };
            address.as_deref()?.parse().ok()
        })
    };
    of_kind(false).or_else(|| of_kind(true))
}

/// The host ports in force. The engine lists each twice, for IPv4 and IPv6. Should it have given those two different
/// dynamic numbers, both are listed: each of them works for its kind of address.
fn ports(inspected: &ContainerInspectResponse) -> Ports {
    let Some(map) = inspected.network_settings.as_ref().and_then(|settings| settings.ports.as_ref()) else {
        return Ports::new();
    };
    let mut found = BTreeSet::new();
    for (name, bindings) in map {
        let Some((number, protocol)) = port(name) else { continue };
        for binding in bindings.iter().flatten() {
            if let Some(host_port) = binding.host_port.as_deref().and_then(|text| text.parse::<u16>().ok()) {
                found.insert((number, protocol, host_port));
            }
        }
    }
    found
        .into_iter()
        .map(|(container_port, protocol, host_port)| PortBinding { container_port, protocol, host_port })
        .collect()
}

fn port(name: &str) -> Option<(u16, PortProtocol)> {
    let (number, protocol) = name.split_once('/')?;
    let protocol = match protocol {
        "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        _ => return None,
    };
    Some((number.parse().ok()?, protocol))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{EndpointSettings, NetworkSettings, PortBinding as EnginePort};

    use super::*;

    fn inspected(status: ContainerStateStatusEnum, started_at: &str) -> ContainerInspectResponse {
        ContainerInspectResponse {
            state: Some(ContainerState {
                status: Some(status),
                started_at: Some(started_at.to_owned()),
                finished_at: Some("2026-01-02T03:04:05.5Z".to_owned()),
                exit_code: Some(137),
                oom_killed: Some(true),
                ..ContainerState::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn a_failed_start_does_not_count_as_a_run() {
        let never = inspected(ContainerStateStatusEnum::CREATED, "0001-01-01T00:00:00Z");
        assert_eq!(state(&never, Timestamp::UNIX_EPOCH), InstanceState::Created);
    }

    #[test]
    fn an_end_tells_code_memory_and_times() {
        let ended = inspected(ContainerStateStatusEnum::EXITED, "2026-01-02T03:04:05Z");
        let InstanceState::Exited(exit) = state(&ended, Timestamp::UNIX_EPOCH) else { panic!("not exited") };
        assert_eq!((exit.exit_code, exit.oom_killed), (137, true));
        assert_eq!(exit.finished_at.to_string(), "2026-01-02T03:04:05.5Z");
        assert!(exit.started_at < Some(exit.finished_at));
    }

    #[test]
    fn no_run_ends_before_it_starts() {
        let odd = inspected(ContainerStateStatusEnum::EXITED, "2026-01-02T03:04:06Z");
        let InstanceState::Exited(exit) = state(&odd, Timestamp::UNIX_EPOCH) else { panic!("not exited") };
        assert_eq!(Some(exit.finished_at), exit.started_at);
    }

    #[test]
    fn the_address_is_that_on_the_first_network_that_gives_one() {
        let address_on = |networks: &[(&str, &str, &str)]| {
            let network = |(name, v4, v6): &(&str, &str, &str)| {
                let (ip_address, global_ipv6_address) = (Some((*v4).to_owned()), Some((*v6).to_owned()));
                ((*name).to_owned(), EndpointSettings { ip_address, global_ipv6_address, ..Default::default() })
            };
            let networks = Some(networks.iter().map(network).collect());
            let network_settings = Some(NetworkSettings { networks, ..NetworkSettings::default() });
            let inspected = ContainerInspectResponse { network_settings, ..ContainerInspectResponse::default() };
            address(&inspected).map(|address| address.to_string())
        };
        let some = |address: &str| Some(address.to_owned());
        assert_eq!(address_on(&[("bridge", "172.17.0.2", "")]), some("172.17.0.2"));
        assert_eq!(address_on(&[("b", "10.0.0.2", ""), ("a", "", "fd00::2")]), some("10.0.0.2"));
        assert_eq!(address_on(&[("a", "", "fd00::2")]), some("fd00::2"));
        assert_eq!(address_on(&[("host", "", "")]), None);
        assert_eq!(address(&ContainerInspectResponse::default()), None);
    }

    #[test]
    fn ports_for_both_kinds_of_address_are_told_once() {
        let binding =
            |ip: &str, number: &str| EnginePort { host_ip: Some(ip.to_owned()), host_port: Some(number.to_owned()) };
        let ports_map = HashMap::from([
            ("80/tcp".to_owned(), Some(vec![binding("0.0.0.0", "49153"), binding("::", "49153")])),
            ("53/udp".to_owned(), Some(vec![binding("0.0.0.0", "5353")])),
            ("9/tcp".to_owned(), None),
        ]);
        let inspected = ContainerInspectResponse {
            network_settings: Some(NetworkSettings { ports: Some(ports_map), ..NetworkSettings::default() }),
            ..ContainerInspectResponse::default()
        };
        let found: Vec<_> = ports(&inspected).iter().map(|port| (port.container_port, port.host_port)).collect();
        assert_eq!(found, [(53, 5353), (80, 49153)]);
    }
}
