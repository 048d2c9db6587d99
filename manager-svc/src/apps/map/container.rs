//! The container of a service's tasks.

use std::collections::BTreeMap;

use davit_compose::{FileGrant, Logging, Mount, MountSource, Project, Protocol, PullPolicy, Service, StoredFile};
use davit_core::spec::ExtraHost;
use davit_proto::v1;

use super::deployment_name;
use super::refused::{Refusals, key};

/// What the kernel takes for no limit.
const UNLIMITED: u64 = i64::MAX.unsigned_abs();

pub(super) fn container(project: &Project, service: &Service, refusals: &mut Refusals) -> v1::ContainerSpec {
    v1::ContainerSpec {
        image: service.image.to_string(),
        entrypoint: words(service, service.entrypoint.as_ref(), "entrypoint", refusals),
        command: words(service, service.command.as_ref(), "command", refusals),
        env: service.environment.clone(),
        working_dir: service.working_dir.clone().unwrap_or_default(),
        user: service.user.clone().unwrap_or_default(),
        mounts: service.mounts.iter().map(|each| mount(project, each)).collect(),
        ports: service.ports.iter().map(port).collect(),
        tmpfs: service.tmpfs.iter().map(tmpfs).collect(),
        cap_add: service.cap_add.iter().cloned().collect(),
        cap_drop: service.cap_drop.iter().cloned().collect(),
        read_only: service.read_only,
        ulimits: service.ulimits.iter().map(|(name, limit)| ulimit(name, *limit)).collect(),
        pull_policy: service.pull_policy.map_or(v1::PullPolicy::Unspecified, pull_policy).into(),
        files: files(project, service),
        network: Some(network(project, service)),
        init: service.init,
        tty: service.tty,
        stdin_open: service.stdin_open,
        hostname: service.hostname.clone().unwrap_or_default(),
        extra_hosts: service.extra_hosts.iter().map(extra_host).collect(),
        shm_size_bytes: service.shm_size_bytes.unwrap_or_default(),
        pids_limit: service.deploy.pids_limit.unwrap_or_default(),
        group_add: service.group_add.iter().cloned().collect(),
        no_new_privileges: service.no_new_privileges,
        log_bounds: log_bounds(service.logging),
    }
}

/// Configs and secrets. Their versions are written when it is known what there is of them.
fn files(project: &Project, service: &Service) -> Vec<v1::FileGrant> {
    let granted = |declared: &BTreeMap<String, StoredFile>, grant: &FileGrant, secret| v1::FileGrant {
        name: declared.get(&grant.source).map_or(&grant.source, |stored| &stored.name).clone(),
        secret,
        digest: String::new(),
        target: grant.target.clone(),
        uid: grant.uid.unwrap_or_default(),
        gid: grant.gid.unwrap_or_default(),
        mode: grant.mode,
    };
    let configs = service.configs.iter().map(|grant| granted(&project.configs, grant, false));
    configs.chain(service.secrets.iter().map(|grant| granted(&project.secrets, grant, true))).collect()
}

/// The one of the app, in which the service has its name, that of its deployment, and all that it is called besides.
fn network(project: &Project, service: &Service) -> v1::ContainerNetwork {
    let own = [service.name.clone(), deployment_name(&project.name, &service.name)];
    let further: Vec<_> = service.aliases.iter().filter(|alias| !own.contains(alias)).cloned().collect();
    v1::ContainerNetwork { name: project.name.clone(), aliases: own.into_iter().chain(further).collect() }
}

/// What replaces that of the image.
fn words(service: &Service, words: Option<&Vec<String>>, written: &str, refusals: &mut Refusals) -> Vec<String> {
    if words.is_some_and(Vec::is_empty) {
        let (position, path) = key(service, written);
        refusals.unsupported(position, &path, "taking away what the image says is not supported yet");
    }
    words.cloned().unwrap_or_default()
}

fn mount(project: &Project, mount: &Mount) -> v1::Mount {
    let source = match &mount.source {
        MountSource::Bind(path) => v1::mount::Source::BindPath(path.clone()),
        MountSource::Volume(volume) => {
            let declared = project.volumes.get(volume);
            let name = declared.map_or(volume, |declared| &declared.name);
            v1::mount::Source::VolumeName(name.clone())
        }
    };
    v1::Mount { source: Some(source), target: mount.target.clone(), read_only: mount.read_only }
}

fn port(port: &davit_compose::Port) -> v1::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => v1::PortProtocol::Tcp,
        Protocol::Udp => v1::PortProtocol::Udp,
    };
    v1::Port {
        container_port: port.target.into(),
        protocol: protocol.into(),
        host_port: port.published.map_or(0, u32::from),
    }
}

fn tmpfs(tmpfs: &davit_compose::Tmpfs) -> v1::Tmpfs {
    v1::Tmpfs { target: tmpfs.target.clone(), size_bytes: tmpfs.size_bytes.unwrap_or(0) }
}

fn ulimit(name: &str, limit: davit_compose::Ulimit) -> v1::Ulimit {
    let amount = |amount: Option<u64>| amount.unwrap_or(UNLIMITED);
    v1::Ulimit { name: name.to_owned(), soft: amount(limit.soft), hard: amount(limit.hard) }
}

fn extra_host(host: &ExtraHost) -> v1::ExtraHost {
    v1::ExtraHost { name: host.name.clone(), address: host.address.to_string() }
}

fn log_bounds(logging: Logging) -> Option<v1::LogBounds> {
    let Logging { max_file_bytes, max_files } = logging;
    let bounds =
        v1::LogBounds { max_file_bytes: max_file_bytes.unwrap_or_default(), max_files: max_files.unwrap_or_default() };
    (logging != Logging::default()).then_some(bounds)
}

fn pull_policy(policy: PullPolicy) -> v1::PullPolicy {
    match policy {
        PullPolicy::Always => v1::PullPolicy::Always,
        PullPolicy::Missing => v1::PullPolicy::Missing,
        PullPolicy::Never => v1::PullPolicy::Never,
    }
}
