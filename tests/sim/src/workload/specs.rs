//! What users ask to be run.

use std::collections::BTreeMap;
use std::time::Duration;

use davit_proto::v1;

use super::{Kind, Users};

impl Users {
    pub(super) fn spec(&self, name: &str, kind: Kind) -> v1::TaskSpec {
        let run_for = |low, high| ("fake.run_for_ms".to_owned(), self.rng.between(low, high).to_string());
        let mut labels: BTreeMap<String, String> = match kind {
            Kind::Service | Kind::Lonely | Kind::Scaled => Vec::new(),
            Kind::Job => vec![run_for(200, 6000)],
            Kind::FailingJob => vec![run_for(100, 2000), ("fake.exit_code".to_owned(), "3".to_owned())],
        }
        .into_iter()
        .collect();
        if self.rng.percent(30) {
            labels.insert("fake.pull_ms".to_owned(), self.rng.between(10, 1500).to_string());
        }
        let (mode, max_attempts) = match kind {
            Kind::Service | Kind::Lonely | Kind::Scaled => (v1::RestartMode::Always, 0),
            Kind::Job => (v1::RestartMode::OnFailure, 0),
            Kind::FailingJob => (v1::RestartMode::OnFailure, 3),
        };
        let ports =
            if self.rng.percent(50) { vec![v1::Port { container_port: 80, ..Default::default() }] } else { Vec::new() };
        // Few, so that several tasks have the same.
        let may_be = kind != Kind::Scaled;
        let (is_kept, is_grouped) = (may_be && self.rng.percent(15), may_be && self.rng.percent(10));
        let mount = |number: u64| v1::Mount {
            source: Some(v1::mount::Source::VolumeName(format!("volume-{number}"))),
            target: "/data".to_owned(),
            read_only: false,
        };
        let mounts = is_kept.then(|| mount(self.rng.between(1, 3))).into_iter().collect();
        let container = v1::ContainerSpec { image: "fake".to_owned(), ports, mounts, ..Default::default() };
        let colocation = is_grouped
            .then(|| v1::Colocation { group: format!("group-{}", self.rng.between(1, 2)), ..Default::default() });
        let reservation =
            v1::Resources { cpu_millis: self.rng.between(2, 5) * 200, memory_bytes: 64 << 20, disk_bytes: 16 << 20 };
        v1::TaskSpec {
            labels,
            on_node_loss: (kind == Kind::Lonely)
                .then(|| v1::NodeLossPolicy { action: v1::NodeLossAction::StopAndReplace.into(), wait: None }),
            placement: colocation
                .map(|one| v1::PlacementPolicy { colocation: Some(one), ..v1::PlacementPolicy::default() }),
            ..hasty(name, container, reservation, (mode, max_attempts))
        }
    }
}

/// A task of which all happens soon: its restarts, up to so many attempts, and its end.
pub(super) fn hasty(
    name: &str,
    container: v1::ContainerSpec,
    reservation: v1::Resources,
    (mode, max_attempts): (v1::RestartMode, u32),
) -> v1::TaskSpec {
    v1::TaskSpec {
        name: name.to_owned(),
        runtime: Some(v1::task_spec::Runtime::Container(container)),
        resources: Some(v1::ResourceRequirements { reservation: Some(reservation), ..Default::default() }),
        restart_policy: Some(v1::RestartPolicy {
            mode: mode.into(),
            max_attempts,
            initial_delay: short(100),
            max_delay: short(900),
            ..Default::default()
        }),
        stop_policy: Some(v1::StopPolicy { grace: short(500), ..Default::default() }),
        ..Default::default()
    }
}

/// Less than a few seconds.
pub(super) fn short(millis: u64) -> Option<prost_types::Duration> {
    Duration::from_millis(millis).try_into().ok()
}
