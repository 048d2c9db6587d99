//! What users want of deployments: tasks that run on, get healthy late or never, fail or end, and ways to replace them.

use std::collections::BTreeMap;

use davit_proto::v1;

use super::Users;
use super::specs::{hasty, short};

/// What the tasks of a version do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conduct {
    /// They run until they are stopped.
    Serve,
    /// They become healthy after a while.
    ServeLate,
    /// They fail.
    Fail,
    /// They run and never are healthy.
    NeverHealthy,
    /// They are healthy for a while.
    TurnUnhealthy,
    /// They end with 0.
    End,
}

impl Users {
    /// The first version of a deployment.
    pub(super) fn new_deployment(&self, name: &str) -> v1::DeploymentSpec {
        let mode = if self.rng.percent(25) {
            v1::deployment_spec::Mode::Global(v1::GlobalMode {})
        } else {
            v1::deployment_spec::Mode::Replicated(v1::ReplicatedMode { replicas: Some(self.some_replicas()) })
        };
        let conduct = if self.rng.percent(90) { self.some_good_conduct() } else { self.some_conduct() };
        v1::DeploymentSpec {
            name: name.to_owned(),
            mode: Some(mode),
            task: Some(self.replica(name, 1, conduct)),
            update_policy: Some(self.update_policy()),
            kept_versions: self.rng.percent(30).then(|| u32::try_from(self.rng.between(1, 3)).unwrap_or(1)),
            ..Default::default()
        }
    }

    /// What a user wants of a deployment after this. `image`: a number that no version of it had.
    pub(super) fn changed_deployment(&self, before: &v1::DeploymentSpec, image: u32) -> v1::DeploymentSpec {
        let mut spec = before.clone();
        match (self.rng.below(100), &mut spec.task) {
            (0..=14, Some(task)) => {
                task.labels.insert("tier".to_owned(), image.to_string());
            }
            (15..=29, Some(task)) => task.constraints = self.some_constraints(),
            (30..=39, _) => spec.update_policy = Some(self.update_policy()),
            (_, task) => {
                let constraints = task.take().map(|task| task.constraints).unwrap_or_default();
                let replica = self.replica(&before.name, image, self.some_conduct());
                *task = Some(v1::TaskSpec { constraints, ..replica });
                if self.rng.percent(30) {
                    spec.update_policy = Some(self.update_policy());
                }
            }
        }
        spec
    }

    pub(super) fn some_replicas(&self) -> u32 {
        u32::try_from(self.rng.between(1, 4)).unwrap_or(1)
    }

    fn some_constraints(&self) -> Vec<String> {
        let host = self.some_worker().filter(|_| self.rng.percent(60));
        host.into_iter().map(|host| format!("node.name != {host}")).collect()
    }

    fn some_good_conduct(&self) -> Conduct {
        if self.rng.percent(35) { Conduct::ServeLate } else { Conduct::Serve }
    }

    fn some_conduct(&self) -> Conduct {
        match self.rng.below(16) {
            0..=2 => Conduct::Fail,
            3 => Conduct::NeverHealthy,
            4 => Conduct::TurnUnhealthy,
            5 => Conduct::End,
            _ => self.some_good_conduct(),
        }
    }

    fn update_policy(&self) -> v1::UpdatePolicy {
        let start_first = self.rng.percent(60);
        let order = if start_first { v1::UpdateOrder::StartFirst } else { v1::UpdateOrder::StopFirst };
        let on_failure = match self.rng.below(4) {
            0..=1 => v1::RolloutFailureAction::Pause,
            2 => v1::RolloutFailureAction::Rollback,
            _ => v1::RolloutFailureAction::Continue,
        };
        v1::UpdatePolicy {
            parallelism: u32::try_from(self.rng.below(3)).ok(),
            order: order.into(),
            delay: self.some_time(0, 600),
            monitor: self.some_time(100, 1500),
            max_failure_ratio: if self.rng.percent(25) { 0.5 } else { 0.0 },
            progress_deadline: self.some_time(4000, 20_000),
            on_failure: on_failure.into(),
            canaries: u32::from(self.rng.percent(25)),
            auto_promote: self.rng.percent(50),
        }
    }

    fn some_time(&self, low: u64, high: u64) -> Option<prost_types::Duration> {
        self.rng.millis(low, high).try_into().ok()
    }

    fn replica(&self, name: &str, image: u32, conduct: Conduct) -> v1::TaskSpec {
        let order = |order: &str, low, high| (format!("fake.{order}"), self.rng.between(low, high).to_string());
        let mut labels: BTreeMap<String, String> = match conduct {
            Conduct::Serve => Vec::new(),
            Conduct::ServeLate => vec![order("healthy_after_ms", 100, 2500)],
            Conduct::Fail => vec![order("run_for_ms", 50, 1500), order("exit_code", 3, 3)],
            Conduct::NeverHealthy => vec![order("healthy_after_ms", 3_600_000, 3_600_000)],
            Conduct::TurnUnhealthy => vec![order("unhealthy_after_ms", 1000, 4000)],
            Conduct::End => vec![order("run_for_ms", 500, 3000)],
        }
        .into_iter()
        .collect();
        if self.rng.percent(30) {
            labels.extend([order("pull_ms", 10, 1500)]);
        }
        let is_checked = matches!(conduct, Conduct::ServeLate | Conduct::NeverHealthy | Conduct::TurnUnhealthy);
        let serves = matches!(conduct, Conduct::Serve | Conduct::ServeLate);
        // What does not serve is given up after a while, so that all comes to rest.
        let (mode, max_attempts) = if serves { (v1::RestartMode::Always, 0) } else { (v1::RestartMode::OnFailure, 3) };
        let ports =
            if self.rng.percent(30) { vec![v1::Port { container_port: 80, ..Default::default() }] } else { Vec::new() };
        // Whatever else changes: another image is another task.
        let container = v1::ContainerSpec { image: format!("fake:{image}"), ports, ..Default::default() };
        let reservation =
            v1::Resources { cpu_millis: self.rng.between(1, 2) * 100, memory_bytes: 32 << 20, disk_bytes: 16 << 20 };
        v1::TaskSpec {
            labels,
            health_check: is_checked.then(|| Box::new(health_check())),
            on_node_loss: self
                .rng
                .percent(15)
                .then(|| v1::NodeLossPolicy { action: v1::NodeLossAction::StopAndReplace.into(), wait: None }),
            ..hasty(name, container, reservation, (mode, max_attempts))
        }
    }
}

/// Looks often, and bears one failure.
fn health_check() -> v1::HealthCheck {
    v1::HealthCheck {
        probe: Some(v1::health_check::Probe::Tcp(v1::TcpProbe { port: 80 })),
        interval: short(300),
        timeout: short(200),
        retries: 2,
        start_period: short(3000),
        start_interval: short(300),
    }
}
