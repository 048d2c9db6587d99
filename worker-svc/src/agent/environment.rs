//! What a task is told of itself by its environment. Pure. What its spec sets goes before it.

use davit_core::id::{AttemptKey, NodeId};
use davit_core::spec::{Port, PortProtocol, RuntimeSpec, TaskSpec};
use davit_core::task::{Part, PortBinding, RunIndex};

/// Variables for an attempt on a node of this id and name. `given`: the host ports that the manager gave it; `part`: what it
/// is of its deployment or job.
pub(super) fn environment(
    (node_id, node_name): (NodeId, &str),
    key: AttemptKey,
    spec: &TaskSpec,
    given: &[PortBinding],
    part: Part,
) -> Vec<(String, String)> {
    let mut env = vec![
        ("DAVIT_TASK_ID", key.task_id.to_string()),
        ("DAVIT_TASK_NAME", spec.name.clone()),
        ("DAVIT_ATTEMPT", key.to_string()),
        ("DAVIT_ATTEMPT_NUMBER", key.attempt.to_string()),
        ("DAVIT_NODE", node_name.to_owned()),
        ("DAVIT_NODE_ID", node_id.to_string()),
    ];
    match part {
        Part::Alone => {}
        Part::Replica(replica) => env.push(("DAVIT_SLOT", replica.to_string())),
        Part::Index(RunIndex { run, index }) => {
            env.extend([("DAVIT_RUN", run.to_string()), ("DAVIT_INDEX", index.to_string())]);
        }
    }
    let mut env: Vec<(String, String)> = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if let RuntimeSpec::Container(container) = &spec.runtime {
        let mut given = given.iter();
        for port in &container.ports {
            let host_port = port.host_port.or_else(|| given.next().map(|binding| binding.host_port));
            env.extend(host_port.map(|host_port| (port_variable(port), host_port.to_string())));
        }
    }
    env
}

/// `DAVIT_PORT_8080`, or `DAVIT_PORT_53_UDP`.
fn port_variable(port: &Port) -> String {
    match port.protocol {
        PortProtocol::Tcp => format!("DAVIT_PORT_{}", port.container_port),
        PortProtocol::Udp => format!("DAVIT_PORT_{}_UDP", port.container_port),
    }
}

#[cfg(test)]
mod tests {
    use davit_core::id::{Attempt, TaskId};
    use davit_core::spec::ContainerSpec;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_task_is_told_who_and_where_it_is_and_how_it_is_reached() {
        let port = |container_port, protocol, host_port| Port { container_port, protocol, host_port };
        let container = ContainerSpec {
            ports: vec![
                port(80, PortProtocol::Tcp, None),
                port(443, PortProtocol::Tcp, Some(8443)),
                port(53, PortProtocol::Udp, None),
            ],
            ..ContainerSpec::new("busybox".parse().unwrap())
        };
        let given = |container_port, protocol, host_port| PortBinding { container_port, protocol, host_port };
        let given = [given(80, PortProtocol::Tcp, 20_000), given(53, PortProtocol::Udp, 20_001)];
        let key = AttemptKey { task_id: TaskId(Uuid::from_u128(7)), attempt: Attempt(2) };
        let spec = TaskSpec::new("web", RuntimeSpec::Container(container));
        let told = environment((NodeId(Uuid::from_u128(9)), "node-1"), key, &spec, &given, Part::Replica(3));
        let told: Vec<String> = told.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            told,
            [
                "DAVIT_TASK_ID=00000000-0000-0000-0000-000000000007",
                "DAVIT_TASK_NAME=web",
                "DAVIT_ATTEMPT=00000000-0000-0000-0000-000000000007/2",
                "DAVIT_ATTEMPT_NUMBER=2",
                "DAVIT_NODE=node-1",
                "DAVIT_NODE_ID=00000000-0000-0000-0000-000000000009",
                "DAVIT_SLOT=3",
                "DAVIT_PORT_80=20000",
                "DAVIT_PORT_443=8443",
                "DAVIT_PORT_53_UDP=20001",
            ]
        );
        let of_part = |part| {
            let told = environment((NodeId(Uuid::nil()), ""), key, &spec, &[], part).into_iter();
            told.filter(|(name, _)| ["DAVIT_SLOT", "DAVIT_RUN", "DAVIT_INDEX"].contains(&name.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of_part(Part::Alone), []);
        let told = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let of_index = of_part(Part::Index(RunIndex { run: 4, index: 0 }));
        assert_eq!(of_index, [told("DAVIT_RUN", "4"), told("DAVIT_INDEX", "0")]);
    }
}
