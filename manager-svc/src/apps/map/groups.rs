//! `x-davit.colocate` at the top: services whose tasks are all on one node.

use std::collections::{BTreeMap, BTreeSet};

use davit_compose::{Amounts, Mode, MountSource, Project, Service};
use davit_proto::v1;

use super::deployment_name;
use super::refused::{Refusals, key};

/// The group of each service that is in one. What has a task on each node is in none: that is told.
pub(super) fn of_services(project: &Project, refusals: &mut Refusals) -> BTreeMap<String, v1::Colocation> {
    let mut groups = BTreeMap::new();
    for names in &project.colocate {
        let services: Vec<&Service> = names.iter().filter_map(|name| project.services.get(name)).collect();
        let (everywhere, members): (Vec<&Service>, Vec<&Service>) =
            services.into_iter().partition(|service| service.deploy.mode == Mode::Global);
        for service in everywhere {
            let (position, path) = key(service, "deploy.mode");
            refusals.differs(
                position,
                &path,
                "a service with a task on each node is in no group of `x-davit.colocate`",
            );
        }
        let Some(first) = members.first() else { continue };
        let is_all = names.len() == project.services.len();
        let group = if is_all { project.name.clone() } else { deployment_name(&project.name, &first.name) };
        let colocation = v1::Colocation {
            group,
            reservation: Some(reservation(&members)),
            volume_names: volumes(project, &members),
        };
        groups.extend(members.iter().map(|service| (service.name.clone(), colocation.clone())));
    }
    groups
}

/// What all tasks of these set aside.
fn reservation(services: &[&Service]) -> v1::Resources {
    let mut sum = v1::Resources::default();
    for service in services {
        let Amounts { cpu_millis, memory_bytes, .. } = service.deploy.reservations;
        let replicas = u64::from(service.deploy.replicas.unwrap_or(1));
        let all = |amount: Option<u64>| amount.unwrap_or(0).saturating_mul(replicas);
        sum.cpu_millis = sum.cpu_millis.saturating_add(all(cpu_millis));
        sum.memory_bytes = sum.memory_bytes.saturating_add(all(memory_bytes));
    }
    sum
}

/// The names of the volumes that they mount, as nodes know them.
fn volumes(project: &Project, services: &[&Service]) -> Vec<String> {
    let mounts = services.iter().flat_map(|service| &service.mounts);
    let named: BTreeSet<String> = mounts
        .filter_map(|mount| match &mount.source {
            MountSource::Volume(volume) => Some(project.volumes.get(volume).map_or(volume, |declared| &declared.name)),
            MountSource::Bind(_) => None,
        })
        .cloned()
        .collect();
    named.into_iter().collect()
}
