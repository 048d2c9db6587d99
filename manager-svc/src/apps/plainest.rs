//! What a task and a schedule would be if only that had been asked for which they can't be without: what differs from that, a user
//! wrote.

use std::sync::Arc;

use davit_core::file::{ConfigKind, ConfigName, FileGrant};
use davit_core::job::{MissedRuns, Overlap, Schedule};
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::{ContainerNetwork, ContainerSpec, Port, PortProtocol, RuntimeSpec, TaskSpec};

use super::map::{APP_LABEL, SERVICE_LABEL, usual_check};

/// A task of the same image. Ports, files and a health check that it has are there, and so are told only as far as they are not at
/// their defaults.
pub(super) fn plainest_task(spec: &Arc<TaskSpec>, mode: RestartMode) -> Arc<TaskSpec> {
    let RuntimeSpec::Container(container) = &spec.runtime else { return Arc::clone(spec) };
    let own_labels = spec.labels.iter().filter(|(key, _)| key.starts_with("davit."));
    let runtime = RuntimeSpec::Container(ContainerSpec {
        network: container.network.as_ref().map(|_| plainest_network(spec)),
        ports: container.ports.iter().filter_map(plainest_port).collect(),
        files: container.files.iter().map(plainest_file).collect(),
        ..ContainerSpec::new(container.image.clone())
    });
    let labels = own_labels.map(|(key, value)| (key.clone(), value.clone())).collect();
    let restart = RestartPolicy { mode, ..RestartPolicy::default() };
    let health_check = spec.health_check.as_ref().map(|check| usual_check(check.interval).into());
    Arc::new(TaskSpec { labels, restart, health_check, ..TaskSpec::new(spec.name.clone(), runtime) })
}

/// That of a service that has no further names.
fn plainest_network(spec: &TaskSpec) -> ContainerNetwork {
    let label = |key| spec.labels.get(key).cloned();
    let aliases = label(SERVICE_LABEL).into_iter().chain([spec.name.clone()]).collect();
    ContainerNetwork { name: label(APP_LABEL).unwrap_or_default(), aliases }
}

/// Of one that has no port on the node there is nothing else to tell than its protocol.
fn plainest_port(port: &Port) -> Option<Port> {
    port.host_port.map(|_| Port { protocol: PortProtocol::Tcp, host_port: None, ..port.clone() })
}

fn plainest_file(grant: &FileGrant) -> FileGrant {
    FileGrant {
        config: ConfigName { kind: ConfigKind::Config, name: String::new() },
        digest: None,
        target: grant.target.clone(),
        uid: 0,
        gid: 0,
        mode: FileGrant::DEFAULT_MODE,
    }
}

/// The same times: what they are is told anyway.
pub(super) fn plainest_schedule(schedule: &Schedule) -> Schedule {
    Schedule {
        times: schedule.times.clone(),
        overlap: Overlap::default(),
        start_deadline: None,
        missed_runs: MissedRuns::default(),
    }
}
