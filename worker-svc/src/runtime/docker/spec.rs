//! From a task's spec to what the engine takes. Pure.
//!
//! `disk_bytes` of the limit is not enforced: the engine can limit a container's disk only on a few storage drivers
//! (overlay2 over xfs with project quotas), and refuses the option elsewhere. It counts for placement alone.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding, ResourcesUlimits,
};
use davit_core::id::ClusterId;
use davit_core::spec::{ContainerSpec, MountSource, OnNodeLoss, RuntimeSpec, TaskSpec};

use super::{DockerConfig, labels, networks};
use crate::runtime::{AttemptSpec, Error, Owner};

/// The container in a task's spec.
pub(super) fn container(spec: &TaskSpec) -> Result<&ContainerSpec, Error> {
    match &spec.runtime {
        RuntimeSpec::Container(container) => Ok(container),
        RuntimeSpec::Process(_) => {
            Err(Error::Unsupported { what: "the docker runtime runs containers, not processes".to_owned() })
        }
    }
}

/// What is sent to the engine to create the attempt's container, which has these files.
pub(super) fn create_body(
    owner: &Owner,
    cluster_id: Option<ClusterId>,
    config: &DockerConfig,
    attempt: &AttemptSpec,
    files: Vec<Mount>,
) -> Result<ContainerCreateBody, Error> {
    let task = &attempt.spec;
    let container = container(task)?;
    let exposed: Vec<_> =
        container.ports.iter().map(|port| format!("{}/{}", port.container_port, port.protocol)).collect();
    let mut labels = labels::all(owner, cluster_id, attempt.key, leased(task), &task.labels);
    labels.remove(labels::NETWORK);
    let network = container.network.as_ref();
    labels.extend(network.map(|one| (labels::NETWORK.to_owned(), networks::engine_name(owner, one))));
    let mut host_config = host_config(config, attempt, container, files);
    host_config.network_mode = network.map(|network| networks::engine_name(owner, network));
    Ok(ContainerCreateBody {
        image: Some(container.image.as_str().to_owned()),
        entrypoint: unless_empty(&container.entrypoint),
        cmd: unless_empty(&container.command),
        env: Some(attempt.env_of(&container.env).map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: text_unless_empty(&container.working_dir),
        user: text_unless_empty(&container.user),
        labels: Some(labels),
        exposed_ports: unless_empty(&exposed),
        // Kept by the engine so that a `docker stop` by hand, and a stop of the engine, do the same as ours.
        stop_signal: text_unless_empty(&task.stop.signal),
        stop_timeout: Some(i64::try_from(task.stop.grace.as_secs()).unwrap_or(i64::MAX)),
        host_config: Some(host_config),
        networking_config: network.map(|network| networks::networking(owner, network)),
        ..ContainerCreateBody::default()
    })
}

/// The stop grace of a task that must never run twice.
pub(super) fn leased(task: &TaskSpec) -> Option<Duration> {
    (task.on_node_loss == OnNodeLoss::StopAndReplace).then_some(task.stop.grace)
}

fn host_config(
    config: &DockerConfig,
    attempt: &AttemptSpec,
    container: &ContainerSpec,
    files: Vec<Mount>,
) -> HostConfig {
    let limit = attempt.spec.resources.limit;
    let memory = (limit.memory_bytes > 0).then(|| signed(limit.memory_bytes));
    HostConfig {
        nano_cpus: (limit.cpu_millis > 0).then(|| signed(limit.cpu_millis.saturating_mul(1_000_000))),
        memory,
        // Memory and swap together: the same number means no swap.
        memory_swap: memory,
        mounts: Some(mounts(container).chain(files).collect()),
        tmpfs: Some(tmpfs(container)),
        port_bindings: Some(port_bindings(attempt)),
        cap_add: Some(container.cap_add.clone()),
        cap_drop: Some(container.cap_drop.clone()),
        readonly_rootfs: Some(container.read_only),
        ulimits: Some(
            container
                .ulimits
                .iter()
                .map(|ulimit| ResourcesUlimits {
                    name: Some(ulimit.name.clone()),
                    soft: Some(signed(ulimit.soft)),
                    hard: Some(signed(ulimit.hard)),
                })
                .collect(),
        ),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), config.log_max_bytes.max(1).to_string()),
                ("max-file".to_owned(), config.log_max_files.max(1).to_string()),
            ])),
        }),
        ..HostConfig::default()
    }
}

fn mounts(container: &ContainerSpec) -> impl Iterator<Item = Mount> {
    let mount = |mount: &davit_core::spec::Mount| {
        let (typ, source) = match &mount.source {
            MountSource::Bind(path) => (MountType::BIND, path),
            MountSource::Volume(name) => (MountType::VOLUME, name),
        };
        Mount {
            typ: Some(typ),
            source: Some(source.clone()),
            target: Some(mount.target.clone()),
            read_only: Some(mount.read_only),
            ..Mount::default()
        }
    };
    container.mounts.iter().map(mount)
}

fn tmpfs(container: &ContainerSpec) -> HashMap<String, String> {
    let options = |size_bytes: u64| if size_bytes == 0 { String::new() } else { format!("size={size_bytes}") };
    container.tmpfs.iter().map(|tmpfs| (tmpfs.target.clone(), options(tmpfs.size_bytes))).collect()
}

/// Several host ports for one container port become one entry, as the engine wants it.
fn port_bindings(attempt: &AttemptSpec) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for (port, host_port) in attempt.published() {
        // An empty one: the engine chooses.
        let host_port = Some(host_port.map(|number| number.to_string()).unwrap_or_default());
        let binding = PortBinding { host_ip: None, host_port };
        bindings
            .entry(format!("{}/{}", port.container_port, port.protocol))
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    bindings
}

fn unless_empty(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn text_unless_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The largest number, which stands for "unlimited" in ulimits, becomes the engine's -1.
fn signed(value: u64) -> i64 {
    if value == u64::MAX { -1 } else { i64::try_from(value).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use davit_core::id::{Attempt, AttemptKey, TaskId};
    use davit_core::spec::{Port, PortProtocol};
    use davit_core::task::PortBinding as GivenPort;

    use super::*;

    fn container() -> ContainerSpec {
        ContainerSpec::new("busybox".parse().unwrap())
    }

    #[test]
    fn one_container_port_may_have_several_host_ports() {
        let port = |host_port| Port { container_port: 80, protocol: PortProtocol::Tcp, host_port };
        let container = ContainerSpec { ports: vec![port(Some(8080)), port(None)], ..container() };
        let given = |host_port| GivenPort { container_port: 80, protocol: PortProtocol::Tcp, host_port };
        let host_ports = |ports: Vec<GivenPort>| -> Vec<String> {
            let spec = Arc::new(TaskSpec::new("web", RuntimeSpec::Container(container.clone())));
            let key = AttemptKey { task_id: TaskId(uuid::Uuid::from_u128(7)), attempt: Attempt(1) };
            let bindings =
                port_bindings(&AttemptSpec { key, spec, ports: ports.into(), env: Vec::new(), files: Vec::new() });
            bindings["80/tcp"].iter().flatten().filter_map(|binding| binding.host_port.clone()).collect()
        };
        assert_eq!(host_ports(vec![given(20_000)]), ["8080", "20000"]);
        assert_eq!(host_ports(Vec::new()), ["8080", ""], "none was given: the engine chooses");
    }

    #[test]
    fn what_is_empty_is_left_to_the_image() {
        assert_eq!(unless_empty(&container().command), None);
        assert_eq!(text_unless_empty(&container().user), None);
    }

    #[test]
    fn the_largest_number_means_unlimited() {
        assert_eq!((signed(u64::MAX), signed(u64::MAX - 1), signed(7)), (-1, i64::MAX, 7));
    }
}
