//! How many tasks a service has, where, with what, and what follows when something happens to them.

use std::time::Duration;

use davit_compose::{
    Amounts, FailureAction, Mode, OnNodeLoss, RestartCondition, RestartPolicy, Service, UpdateConfig, UpdateOrder,
};
use davit_proto::{convert, v1};

use super::deployment_name;
use super::refused::{Refusals, key};

/// The shortest wait before a restart.
const MIN_RESTART_DELAY: Duration = Duration::from_millis(100);
/// The longest, unless the first is longer.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(300);

pub(super) fn mode(service: &Service) -> v1::deployment_spec::Mode {
    match service.deploy.mode {
        Mode::Global | Mode::GlobalJob => v1::deployment_spec::Mode::Global(v1::GlobalMode {}),
        Mode::Replicated | Mode::ReplicatedJob => {
            v1::deployment_spec::Mode::Replicated(v1::ReplicatedMode { replicas: service.deploy.replicas })
        }
    }
}

pub(super) fn resources(service: &Service) -> v1::ResourceRequirements {
    let amounts = |amounts: Amounts| v1::Resources {
        cpu_millis: amounts.cpu_millis.unwrap_or(0),
        memory_bytes: amounts.memory_bytes.unwrap_or(0),
        disk_bytes: 0,
    };
    v1::ResourceRequirements {
        reservation: Some(amounts(service.deploy.reservations)),
        limit: Some(amounts(service.deploy.limits)),
    }
}

/// A task runs again whenever it ended, unless the service says otherwise, or another waits until it has completed.
pub(super) fn restart(service: &Service, completes_for: Option<&str>, refusals: &mut Refusals) -> v1::RestartPolicy {
    let unset = v1::RestartPolicy::default();
    let Some(policy) = service.restart else {
        let mode = if completes_for.is_some() { v1::RestartMode::OnFailure } else { v1::RestartMode::Always };
        return v1::RestartPolicy { mode: mode.into(), ..unset };
    };
    let mode = match policy.condition {
        RestartCondition::Never => v1::RestartMode::Never,
        RestartCondition::OnFailure => v1::RestartMode::OnFailure,
        RestartCondition::Any => v1::RestartMode::Always,
    };
    if let Some(other) = completes_for.filter(|_| mode == v1::RestartMode::Always) {
        let written = ["deploy.restart_policy", "restart"];
        let written = written.into_iter().find(|key| service.positions.0.contains_key(*key)).unwrap_or("restart");
        let (position, path) = key(service, written);
        let message = format!("it runs again whenever it ended, and `{other}` waits until it has completed");
        refusals.differs(position, &path, &message);
    }
    v1::RestartPolicy {
        mode: mode.into(),
        // The first attempt is none of the restarts.
        max_attempts: policy.max_attempts.map_or(0, |restarts| restarts.saturating_add(1)),
        ..restart_delays(policy)
    }
}

/// How long is waited before a restart.
pub(super) fn restart_delays(policy: RestartPolicy) -> v1::RestartPolicy {
    let delay = policy.delay.map(|delay| delay.max(MIN_RESTART_DELAY));
    v1::RestartPolicy {
        initial_delay: delay.map(convert::duration_to_proto),
        max_delay: delay.map(|delay| convert::duration_to_proto(delay.max(MAX_RESTART_DELAY))),
        reset_after: policy.window.filter(|window| !window.is_zero()).map(convert::duration_to_proto),
        ..v1::RestartPolicy::default()
    }
}

pub(super) fn stop(service: &Service) -> Option<v1::StopPolicy> {
    let (signal, grace) = (service.stop_signal.clone(), service.stop_grace_period);
    (signal.is_some() || grace.is_some())
        .then(|| v1::StopPolicy { signal: signal.unwrap_or_default(), grace: grace.map(convert::duration_to_proto) })
}

pub(super) fn node_loss(service: &Service) -> Option<v1::NodeLossPolicy> {
    let (action, wait) = match service.davit.on_node_loss? {
        OnNodeLoss::Replace => (v1::NodeLossAction::Replace, None),
        OnNodeLoss::Wait(wait) => (v1::NodeLossAction::Wait, Some(convert::duration_to_proto(wait))),
        OnNodeLoss::StopAndReplace => (v1::NodeLossAction::StopAndReplace, None),
    };
    Some(v1::NodeLossPolicy { action: action.into(), wait })
}

pub(super) fn placement(app: &str, service: &Service) -> v1::PlacementPolicy {
    let (wanted, davit) = (&service.deploy.placement, &service.davit);
    let spread = |attribute: &davit_core::constraint::Attribute| v1::SpreadPreference {
        attribute: attribute.to_string(),
        weight: None,
    };
    v1::PlacementPolicy {
        algorithm: davit.algorithm.clone().unwrap_or_default(),
        platform: service.platform.as_deref().map(platform).unwrap_or_default(),
        max_per_node: wanted.max_replicas_per_node,
        task_affinities: davit
            .colocate
            .iter()
            .map(|other| format!("task.name == {}", deployment_name(app, other)))
            .collect(),
        task_anti_affinities: Vec::new(),
        affinities: Vec::new(),
        spread: wanted.spread.iter().map(spread).collect(),
        priority: davit.priority.unwrap_or(0),
        may_preempt: davit.may_preempt.unwrap_or(false),
        colocation: None,
    }
}

/// Without the variant: nodes don't tell theirs.
fn platform(written: &str) -> String {
    written.split('/').take(2).collect::<Vec<_>>().join("/")
}

pub(super) fn update(service: &Service) -> v1::UpdatePolicy {
    let policy = policy(service.deploy.update.unwrap_or_default(), service);
    v1::UpdatePolicy {
        canaries: service.davit.canaries.unwrap_or(0),
        auto_promote: service.davit.auto_promote.unwrap_or(false),
        ..policy
    }
}

pub(super) fn rollback(service: &Service) -> Option<v1::UpdatePolicy> {
    service.deploy.rollback.map(|config| policy(config, service))
}

fn policy(config: UpdateConfig, service: &Service) -> v1::UpdatePolicy {
    let order = match config.order {
        None => v1::UpdateOrder::Unspecified,
        Some(UpdateOrder::StopFirst) => v1::UpdateOrder::StopFirst,
        Some(UpdateOrder::StartFirst) => v1::UpdateOrder::StartFirst,
    };
    let on_failure = match config.failure_action {
        None => v1::RolloutFailureAction::Unspecified,
        Some(FailureAction::Pause) => v1::RolloutFailureAction::Pause,
        Some(FailureAction::Continue) => v1::RolloutFailureAction::Continue,
        Some(FailureAction::Rollback) => v1::RolloutFailureAction::Rollback,
    };
    v1::UpdatePolicy {
        parallelism: config.parallelism,
        order: order.into(),
        delay: config.delay.map(convert::duration_to_proto),
        monitor: config.monitor.map(convert::duration_to_proto),
        max_failure_ratio: config.max_failure_ratio.unwrap_or(0.0),
        progress_deadline: service.davit.progress_deadline.map(convert::duration_to_proto),
        on_failure: on_failure.into(),
        canaries: 0,
        auto_promote: false,
    }
}
