//! Containers, and the one check that only plain processes need.

use std::collections::BTreeMap;

use davit_core::spec::{
    ContainerNetwork, ContainerSpec, Mount, MountSource, Port, ProcessSpec, Tmpfs, Ulimit, check_name,
};
use davit_core::validate::Violations;

use super::enums::{port_protocol_to_proto, pull_policy_from_proto, pull_policy_to_proto};
use super::file::{file_to_proto, files_from_proto};
use super::kernel::{capabilities_from_proto, ulimits_from_proto};
use super::path::{FieldPath, field, item};
use super::port::ports_from_proto;
use super::resources::MAX_BYTES;
use super::settings::{
    check_groups, check_own_hostname, check_pids_limit, extra_hosts_from_proto, extra_hosts_to_proto,
    log_bounds_from_proto, log_bounds_to_proto,
};
use super::text::{
    check_absolute_path, check_arguments, check_command, check_env, check_user, check_volume_name, check_working_dir,
};
use crate::v1;

/// How many names a container may have in its network.
const MAX_ALIASES: usize = 32;

/// Reads a container.
pub(super) fn container_from_proto(
    container: v1::ContainerSpec,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<ContainerSpec> {
    let before = violations.0.len();
    let image = violations.check(field(path, "image"), container.image.parse());
    check_arguments(&container.entrypoint, &field(path, "entrypoint"), violations);
    check_arguments(&container.command, &field(path, "command"), violations);
    check_env(&container.env, &field(path, "env"), violations);
    check_working_dir(&container.working_dir, &field(path, "working_dir"), violations);
    check_user(&container.user, &field(path, "user"), violations);
    let mut targets = BTreeMap::new();
    let mounts = mounts_from_proto(container.mounts, &field(path, "mounts"), &mut targets, violations);
    let ports = ports_from_proto(&container.ports, &field(path, "ports"), violations);
    let tmpfs = tmpfs_from_proto(container.tmpfs, &field(path, "tmpfs"), &mut targets, violations);
    let cap_add = capabilities_from_proto(&container.cap_add, &field(path, "cap_add"), violations);
    let cap_drop = capabilities_from_proto(&container.cap_drop, &field(path, "cap_drop"), violations);
    let ulimits = ulimits_from_proto(container.ulimits, &field(path, "ulimits"), violations);
    let files = files_from_proto(container.files, &field(path, "files"), &mut targets, violations);
    let pull_policy = pull_policy_from_proto(container.pull_policy, field(path, "pull_policy"), violations);
    let network = container.network.map(|network| network_from_proto(network, &field(path, "network"), violations));
    check_own_hostname(&container.hostname, &field(path, "hostname"), violations);
    let extra_hosts = extra_hosts_from_proto(container.extra_hosts, &field(path, "extra_hosts"), violations);
    if container.shm_size_bytes > MAX_BYTES {
        violations.add(field(path, "shm_size_bytes"), "is at most 1 PiB");
    }
    check_pids_limit(container.pids_limit, &field(path, "pids_limit"), violations);
    check_groups(&container.group_add, &field(path, "group_add"), violations);
    let log_bounds = log_bounds_from_proto(container.log_bounds, &field(path, "log_bounds"), violations);
    let (image, pull_policy) = (image?, pull_policy?);
    (violations.0.len() == before).then_some(ContainerSpec {
        image,
        entrypoint: container.entrypoint,
        command: container.command,
        env: container.env,
        working_dir: container.working_dir,
        user: container.user,
        mounts,
        ports,
        tmpfs,
        cap_add,
        cap_drop,
        read_only: container.read_only,
        ulimits,
        pull_policy,
        files,
        network,
        init: container.init,
        tty: container.tty,
        stdin_open: container.stdin_open,
        hostname: container.hostname,
        extra_hosts,
        shm_size_bytes: container.shm_size_bytes,
        pids_limit: container.pids_limit,
        group_add: container.group_add,
        no_new_privileges: container.no_new_privileges,
        log_bounds,
    })
}

/// Reads a network; what is wrong with it is a violation.
fn network_from_proto(
    network: v1::ContainerNetwork,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> ContainerNetwork {
    violations.check(field(path, "name"), check_name(&network.name));
    let aliases_path = field(path, "aliases");
    for (index, alias) in network.aliases.iter().enumerate().take(MAX_ALIASES) {
        violations.check(item(&aliases_path, index), check_name(alias));
        if network.aliases[..index].contains(alias) {
            violations.add(item(&aliases_path, index), format!("`{alias}` is there twice"));
        }
    }
    if network.aliases.len() > MAX_ALIASES {
        violations.add(aliases_path, format!("has at most {MAX_ALIASES} entries"));
    }
    ContainerNetwork { name: network.name, aliases: network.aliases }
}

/// Checks where something is mounted, and that nothing else is mounted there.
pub(super) fn check_target(
    target: &str,
    path: &FieldPath<'_>,
    targets: &mut BTreeMap<String, String>,
    violations: &mut Violations,
) {
    let Some(normal) = check_absolute_path(target, path, violations) else { return };
    if normal == "/" {
        violations.add(path, "nothing can be mounted over the root directory");
    } else if let Some(first) = targets.get(&normal) {
        violations.add(path, format!("is the same place as {first}"));
    } else {
        targets.insert(normal, path.to_string());
    }
}

fn mounts_from_proto(
    mounts: Vec<v1::Mount>,
    path: &FieldPath<'_>,
    targets: &mut BTreeMap<String, String>,
    violations: &mut Violations,
) -> Vec<Mount> {
    let read = |(index, mount): (usize, v1::Mount)| {
        let path = item(path, index);
        check_target(&mount.target, &field(&path, "target"), targets, violations);
        let source = match mount.source {
            Some(v1::mount::Source::BindPath(bind)) => {
                check_absolute_path(&bind, &field(&path, "bind_path"), violations);
                MountSource::Bind(bind)
            }
            Some(v1::mount::Source::VolumeName(name)) => {
                check_volume_name(&name, &field(&path, "volume_name"), violations);
                MountSource::Volume(name)
            }
            None => {
                violations.add(path, "needs bind_path or volume_name");
                return None;
            }
        };
        Some(Mount { source, target: mount.target, read_only: mount.read_only })
    };
    mounts.into_iter().enumerate().filter_map(read).collect()
}

fn tmpfs_from_proto(
    tmpfs: Vec<v1::Tmpfs>,
    path: &FieldPath<'_>,
    targets: &mut BTreeMap<String, String>,
    violations: &mut Violations,
) -> Vec<Tmpfs> {
    let read = |(index, tmpfs): (usize, v1::Tmpfs)| {
        let path = item(path, index);
        check_target(&tmpfs.target, &field(&path, "target"), targets, violations);
        if tmpfs.size_bytes > MAX_BYTES {
            violations.add(field(&path, "size_bytes"), "is at most 1 PiB");
        }
        Tmpfs { target: tmpfs.target, size_bytes: tmpfs.size_bytes }
    };
    tmpfs.into_iter().enumerate().map(read).collect()
}

/// Reads a plain process.
pub(super) fn process_from_proto(
    process: v1::ProcessSpec,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<ProcessSpec> {
    let before = violations.0.len();
    check_command(&process.command, &field(path, "command"), violations);
    check_env(&process.env, &field(path, "env"), violations);
    check_working_dir(&process.working_dir, &field(path, "working_dir"), violations);
    let v1::ProcessSpec { command, env, working_dir } = process;
    (violations.0.len() == before).then_some(ProcessSpec { command, env, working_dir })
}

/// Writes a container.
pub(super) fn container_to_proto(container: &ContainerSpec) -> v1::ContainerSpec {
    let mount = |mount: &Mount| v1::Mount {
        source: Some(match &mount.source {
            MountSource::Bind(path) => v1::mount::Source::BindPath(path.clone()),
            MountSource::Volume(name) => v1::mount::Source::VolumeName(name.clone()),
        }),
        target: mount.target.clone(),
        read_only: mount.read_only,
    };
    let port = |port: &Port| v1::Port {
        container_port: port.container_port.into(),
        protocol: port_protocol_to_proto(port.protocol).into(),
        host_port: port.host_port.unwrap_or(0).into(),
    };
    let ulimit = |ulimit: &Ulimit| v1::Ulimit { name: ulimit.name.clone(), soft: ulimit.soft, hard: ulimit.hard };
    let tmpfs = |tmpfs: &Tmpfs| v1::Tmpfs { target: tmpfs.target.clone(), size_bytes: tmpfs.size_bytes };
    v1::ContainerSpec {
        image: container.image.as_str().to_owned(),
        entrypoint: container.entrypoint.clone(),
        command: container.command.clone(),
        env: container.env.clone(),
        working_dir: container.working_dir.clone(),
        user: container.user.clone(),
        mounts: container.mounts.iter().map(mount).collect(),
        ports: container.ports.iter().map(port).collect(),
        tmpfs: container.tmpfs.iter().map(tmpfs).collect(),
        cap_add: container.cap_add.clone(),
        cap_drop: container.cap_drop.clone(),
        read_only: container.read_only,
        ulimits: container.ulimits.iter().map(ulimit).collect(),
        pull_policy: pull_policy_to_proto(container.pull_policy).into(),
        files: container.files.iter().map(file_to_proto).collect(),
        network: container
            .network
            .as_ref()
            .map(|network| v1::ContainerNetwork { name: network.name.clone(), aliases: network.aliases.clone() }),
        init: container.init,
        tty: container.tty,
        stdin_open: container.stdin_open,
        hostname: container.hostname.clone(),
        extra_hosts: extra_hosts_to_proto(&container.extra_hosts),
        shm_size_bytes: container.shm_size_bytes,
        pids_limit: container.pids_limit,
        group_add: container.group_add.clone(),
        no_new_privileges: container.no_new_privileges,
        log_bounds: log_bounds_to_proto(container.log_bounds),
    }
}
