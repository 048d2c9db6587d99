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
use davit_core::spec::{ContainerSpec, LogBounds, MountSource, OnNodeLoss, RuntimeSpec, TaskSpec};

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
        hostname: text_unless_empty(&container.hostname),
        tty: Some(container.tty),
        open_stdin: Some(container.stdin_open),
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
        init: container.init.then_some(true),
        extra_hosts: Some(container.extra_hosts.iter().map(|host| format!("{}:{}", host.name, host.address)).collect()),
        shm_size: (container.shm_size_bytes > 0).then(|| signed(container.shm_size_bytes)),
        pids_limit: (container.pids_limit > 0).then(|| container.pids_limit.into()),
        group_add: Some(container.group_add.clone()),
        security_opt: container.no_new_privileges.then(|| vec!["no-new-privileges:true".to_owned()]),
        log_config: Some(log_config(config, container)),
        ..HostConfig::default()
    }
}

/// What the spec says goes before what the worker has, and one of them always bounds what is kept.
fn log_config(config: &DockerConfig, container: &ContainerSpec) -> HostConfigLogConfig {
    let LogBounds { max_file_bytes, max_files } = container.log_bounds;
    let max_file_bytes = if max_file_bytes > 0 { max_file_bytes } else { config.log_max_bytes.max(1) };
    let max_files = if max_files > 0 { max_files } else { config.log_max_files.max(1) };
    let bounds = [("max-size", max_file_bytes.to_string()), ("max-file", max_files.to_string())];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(bounds.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
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
    fn output_is_bounded_by_the_spec_and_else_by_the_worker() {
        let config = DockerConfig { log_max_bytes: 1 << 20, log_max_files: 0, ..DockerConfig::default() };
        let bounds = |max_file_bytes, max_files| {
            let log_bounds = LogBounds { max_file_bytes, max_files };
            let config = log_config(&config, &ContainerSpec { log_bounds, ..container() }).config.unwrap();
            (config["max-size"].clone(), config["max-file"].clone())
        };
        let pair = |size: &str, files: &str| (size.to_owned(), files.to_owned());
        assert_eq!(bounds(0, 0), pair("1048576", "1"));
        assert_eq!(bounds(5000, 0), pair("5000", "1"));
        assert_eq!(bounds(0, 7), pair("1048576", "7"));
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
