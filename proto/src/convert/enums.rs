//! Enums. An unknown number is answered with the names that are known.

use davit_core::deployment::{DependencyCondition, OnRolloutFailure, RolloutState, UpdateOrder};
use davit_core::job::{MissedRuns, Overlap};
use davit_core::node::NodeState;
use davit_core::placement::RuntimeKind;
use davit_core::restart::RestartMode;
use davit_core::spec::{PortProtocol, PullPolicy};
use davit_core::state::TaskState;
use davit_core::task::DesiredState;
use davit_core::validate::Violations;

use super::path::{FieldPath, item};
use crate::v1;

/// A protobuf enum that can name its choices.
pub(super) trait Choices: TryFrom<i32> + Copy + 'static {
    /// The enum's name.
    const NAME: &'static str;
    /// Every value that may be given, so without `UNSPECIFIED`.
    const ALL: &'static [Self];
    /// A value's name in protobuf.
    fn name(self) -> &'static str;
}

macro_rules! choices {
    ($enum:ident { $($value:ident),+ $(,)? }) => {
        impl Choices for v1::$enum {
            const NAME: &'static str = stringify!($enum);
            const ALL: &'static [Self] = &[$(Self::$value),+];
            fn name(self) -> &'static str {
                self.as_str_name()
            }
        }
    };
}

choices!(RuntimeKind { Docker, Process });
choices!(NodeState { Ready, Suspect, Down });
choices!(DesiredState { Running, Stopped, Removed });
choices!(PullPolicy { Missing, Always, Never });
choices!(PortProtocol { Tcp, Udp });
choices!(DependencyCondition { Started, Healthy, Completed });
choices!(RestartMode { Never, OnFailure, Always });
choices!(NodeLossAction { Replace, Wait, StopAndReplace });
choices!(UpdateOrder { StopFirst, StartFirst });
choices!(RolloutFailureAction { Pause, Rollback, Continue });
choices!(JobOverlap { Allow, Forbid, Replace });
choices!(MissedRuns { Skip, RunOnce });
choices!(RolloutState { InProgress, AwaitingPromotion, Paused, Complete, Failed });
choices!(TaskState { Pending, Scheduled, Preparing, Running, Stopping, Completed, Failed, Stopped, Lost });

fn names<E: Choices>() -> String {
    E::ALL.iter().map(|choice| choice.name()).collect::<Vec<_>>().join(", ")
}

/// The value of that number, or a violation that names all values.
pub(super) fn known<E: Choices>(number: i32, path: &FieldPath<'_>, violations: &mut Violations) -> Option<E> {
    let value = E::try_from(number).ok();
    if value.is_none() {
        violations.add(path, format!("{number} is not a {}; use one of {}", E::NAME, names::<E>()));
    }
    value
}

/// Notes that a value is needed where none was given.
fn needed<E: Choices, T>(path: &FieldPath<'_>, violations: &mut Violations) -> Option<T> {
    violations.add(path, format!("is needed; use one of {}", names::<E>()));
    None
}

/// Reads each number of a repeated enum.
fn each<T>(
    numbers: &[i32],
    path: &FieldPath<'_>,
    violations: &mut Violations,
    read: impl Fn(i32, &FieldPath<'_>, &mut Violations) -> Option<T>,
) -> Vec<T> {
    let read = |(index, number): (usize, &i32)| read(*number, &item(path, index), violations);
    numbers.iter().enumerate().filter_map(read).collect()
}

/// Reads what can run a task; it must be given.
pub fn runtime_kind_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<RuntimeKind> {
    let path = &path.into();
    match known(number, path, violations)? {
        v1::RuntimeKind::Unspecified => needed::<v1::RuntimeKind, _>(path, violations),
        v1::RuntimeKind::Docker => Some(RuntimeKind::Docker),
        v1::RuntimeKind::Process => Some(RuntimeKind::Process),
    }
}

/// Reads all runtimes; those that can't be read are left out and noted.
pub fn runtime_kinds_from_proto<'a, C: FromIterator<RuntimeKind>>(
    numbers: &[i32],
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> C {
    let path = &path.into();
    each(numbers, path, violations, |number, path, found| runtime_kind_from_proto(number, path, found))
        .into_iter()
        .collect()
}

/// Writes what can run a task.
#[must_use]
pub fn runtime_kind_to_proto(kind: RuntimeKind) -> v1::RuntimeKind {
    match kind {
        RuntimeKind::Docker => v1::RuntimeKind::Docker,
        RuntimeKind::Process => v1::RuntimeKind::Process,
    }
}

/// Reads a node's state; it must be given.
pub fn node_state_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<NodeState> {
    let path = &path.into();
    match known(number, path, violations)? {
        v1::NodeState::Unspecified => needed::<v1::NodeState, _>(path, violations),
        v1::NodeState::Ready => Some(NodeState::Ready),
        v1::NodeState::Suspect => Some(NodeState::Suspect),
        v1::NodeState::Down => Some(NodeState::Down),
    }
}

/// Reads the states of a filter; those that can't be read are left out and noted.
pub fn node_states_from_proto<'a>(
    numbers: &[i32],
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Vec<NodeState> {
    let path = &path.into();
    each(numbers, path, violations, |number, path, found| node_state_from_proto(number, path, found))
}

/// Writes a node's state.
#[must_use]
pub fn node_state_to_proto(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Ready => v1::NodeState::Ready,
        NodeState::Suspect => v1::NodeState::Suspect,
        NodeState::Down => v1::NodeState::Down,
    }
}

/// Reads what is wanted of a task; it must be given.
pub fn desired_state_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<DesiredState> {
    let path = &path.into();
    match known(number, path, violations)? {
        v1::DesiredState::Unspecified => needed::<v1::DesiredState, _>(path, violations),
        v1::DesiredState::Running => Some(DesiredState::Running),
        v1::DesiredState::Stopped => Some(DesiredState::Stopped),
        v1::DesiredState::Removed => Some(DesiredState::Removed),
    }
}

/// Writes what is wanted of a task.
#[must_use]
pub fn desired_state_to_proto(state: DesiredState) -> v1::DesiredState {
    match state {
        DesiredState::Running => v1::DesiredState::Running,
        DesiredState::Stopped => v1::DesiredState::Stopped,
        DesiredState::Removed => v1::DesiredState::Removed,
    }
}

/// Reads a task's state; it must be given.
pub fn task_state_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<TaskState> {
    let path = &path.into();
    match known(number, path, violations)? {
        v1::TaskState::Unspecified => needed::<v1::TaskState, _>(path, violations),
        v1::TaskState::Pending => Some(TaskState::Pending),
        v1::TaskState::Scheduled => Some(TaskState::Scheduled),
        v1::TaskState::Preparing => Some(TaskState::Preparing),
        v1::TaskState::Running => Some(TaskState::Running),
        v1::TaskState::Stopping => Some(TaskState::Stopping),
        v1::TaskState::Completed => Some(TaskState::Completed),
        v1::TaskState::Failed => Some(TaskState::Failed),
        v1::TaskState::Stopped => Some(TaskState::Stopped),
        v1::TaskState::Lost => Some(TaskState::Lost),
    }
}

/// Reads the states of a filter; those that can't be read are left out and noted.
pub fn task_states_from_proto<'a>(
    numbers: &[i32],
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Vec<TaskState> {
    let path = &path.into();
    each(numbers, path, violations, |number, path, found| task_state_from_proto(number, path, found))
}

/// Writes a task's state.
#[must_use]
pub fn task_state_to_proto(state: TaskState) -> v1::TaskState {
    match state {
        TaskState::Pending => v1::TaskState::Pending,
        TaskState::Scheduled => v1::TaskState::Scheduled,
        TaskState::Preparing => v1::TaskState::Preparing,
        TaskState::Running => v1::TaskState::Running,
        TaskState::Stopping => v1::TaskState::Stopping,
        TaskState::Completed => v1::TaskState::Completed,
        TaskState::Failed => v1::TaskState::Failed,
        TaskState::Stopped => v1::TaskState::Stopped,
        TaskState::Lost => v1::TaskState::Lost,
    }
}

/// Reads a port's protocol; tcp unless given.
pub fn port_protocol_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<PortProtocol> {
    let path = &path.into();
    Some(match known(number, path, violations)? {
        v1::PortProtocol::Unspecified | v1::PortProtocol::Tcp => PortProtocol::Tcp,
        v1::PortProtocol::Udp => PortProtocol::Udp,
    })
}

/// Writes a port's protocol.
#[must_use]
pub fn port_protocol_to_proto(protocol: PortProtocol) -> v1::PortProtocol {
    match protocol {
        PortProtocol::Tcp => v1::PortProtocol::Tcp,
        PortProtocol::Udp => v1::PortProtocol::Udp,
    }
}

/// Reads when an image is pulled; when it is missing, unless given.
pub fn pull_policy_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<PullPolicy> {
    let path = &path.into();
    Some(match known(number, path, violations)? {
        v1::PullPolicy::Unspecified | v1::PullPolicy::Missing => PullPolicy::Missing,
        v1::PullPolicy::Always => PullPolicy::Always,
        v1::PullPolicy::Never => PullPolicy::Never,
    })
}

/// Writes when an image is pulled.
#[must_use]
pub fn pull_policy_to_proto(policy: PullPolicy) -> v1::PullPolicy {
    match policy {
        PullPolicy::Missing => v1::PullPolicy::Missing,
        PullPolicy::Always => v1::PullPolicy::Always,
        PullPolicy::Never => v1::PullPolicy::Never,
    }
}

/// Reads when a task runs again; never, unless given.
pub fn restart_mode_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<RestartMode> {
    let path = &path.into();
    Some(match known(number, path, violations)? {
        v1::RestartMode::Unspecified | v1::RestartMode::Never => RestartMode::Never,
        v1::RestartMode::OnFailure => RestartMode::OnFailure,
        v1::RestartMode::Always => RestartMode::Always,
    })
}

/// Writes when a task runs again.
#[must_use]
pub fn restart_mode_to_proto(mode: RestartMode) -> v1::RestartMode {
    match mode {
        RestartMode::Never => v1::RestartMode::Never,
        RestartMode::OnFailure => v1::RestartMode::OnFailure,
        RestartMode::Always => v1::RestartMode::Always,
    }
}

/// Reads which task of a slot goes first; the old one, unless given.
pub(super) fn update_order_from_proto(
    number: i32,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<UpdateOrder> {
    Some(match known(number, path, violations)? {
        v1::UpdateOrder::Unspecified | v1::UpdateOrder::StopFirst => UpdateOrder::StopFirst,
        v1::UpdateOrder::StartFirst => UpdateOrder::StartFirst,
    })
}

/// Writes which task of a slot goes first.
pub(super) fn update_order_to_proto(order: UpdateOrder) -> v1::UpdateOrder {
    match order {
        UpdateOrder::StopFirst => v1::UpdateOrder::StopFirst,
        UpdateOrder::StartFirst => v1::UpdateOrder::StartFirst,
    }
}

/// Reads what follows when a rollout has failed; a pause, unless given.
pub(super) fn on_rollout_failure_from_proto(
    number: i32,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<OnRolloutFailure> {
    Some(match known(number, path, violations)? {
        v1::RolloutFailureAction::Unspecified | v1::RolloutFailureAction::Pause => OnRolloutFailure::Pause,
        v1::RolloutFailureAction::Rollback => OnRolloutFailure::Rollback,
        v1::RolloutFailureAction::Continue => OnRolloutFailure::Continue,
    })
}

/// Writes what follows when a rollout has failed.
pub(super) fn on_rollout_failure_to_proto(action: OnRolloutFailure) -> v1::RolloutFailureAction {
    match action {
        OnRolloutFailure::Pause => v1::RolloutFailureAction::Pause,
        OnRolloutFailure::Rollback => v1::RolloutFailureAction::Rollback,
        OnRolloutFailure::Continue => v1::RolloutFailureAction::Continue,
    }
}

/// Reads how far a deployment must have come; started, unless given.
pub(super) fn dependency_condition_from_proto(
    number: i32,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<DependencyCondition> {
    Some(match known(number, path, violations)? {
        v1::DependencyCondition::Unspecified | v1::DependencyCondition::Started => DependencyCondition::Started,
        v1::DependencyCondition::Healthy => DependencyCondition::Healthy,
        v1::DependencyCondition::Completed => DependencyCondition::Completed,
    })
}

/// Writes how far a deployment must have come.
pub(super) fn dependency_condition_to_proto(condition: DependencyCondition) -> v1::DependencyCondition {
    match condition {
        DependencyCondition::Started => v1::DependencyCondition::Started,
        DependencyCondition::Healthy => v1::DependencyCondition::Healthy,
        DependencyCondition::Completed => v1::DependencyCondition::Completed,
    }
}

/// Reads where a rollout stands; it must be given.
pub fn rollout_state_from_proto<'a>(
    number: i32,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<RolloutState> {
    let path = &path.into();
    match known(number, path, violations)? {
        v1::RolloutState::Unspecified => needed::<v1::RolloutState, _>(path, violations),
        v1::RolloutState::InProgress => Some(RolloutState::InProgress),
        v1::RolloutState::AwaitingPromotion => Some(RolloutState::AwaitingPromotion),
        v1::RolloutState::Paused => Some(RolloutState::Paused),
        v1::RolloutState::Complete => Some(RolloutState::Complete),
        v1::RolloutState::Failed => Some(RolloutState::Failed),
    }
}

/// Reads some states of rollouts; those that can't be read are left out and noted.
pub fn rollout_states_from_proto<'a>(
    numbers: &[i32],
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Vec<RolloutState> {
    each(numbers, &path.into(), violations, |number, path, violations| {
        rollout_state_from_proto(number, path, violations)
    })
}

/// Writes where a rollout stands.
#[must_use]
pub fn rollout_state_to_proto(state: RolloutState) -> v1::RolloutState {
    match state {
        RolloutState::InProgress => v1::RolloutState::InProgress,
        RolloutState::AwaitingPromotion => v1::RolloutState::AwaitingPromotion,
        RolloutState::Paused => v1::RolloutState::Paused,
        RolloutState::Complete => v1::RolloutState::Complete,
        RolloutState::Failed => v1::RolloutState::Failed,
    }
}

/// Reads what follows when the time of a run comes while another goes on.
pub(super) fn overlap_from_proto(number: i32, path: &FieldPath<'_>, violations: &mut Violations) -> Option<Overlap> {
    Some(match known(number, path, violations)? {
        v1::JobOverlap::Unspecified | v1::JobOverlap::Forbid => Overlap::Forbid,
        v1::JobOverlap::Allow => Overlap::Allow,
        v1::JobOverlap::Replace => Overlap::Replace,
    })
}

/// Writes what follows when the time of a run comes while another goes on.
pub(super) fn overlap_to_proto(overlap: Overlap) -> v1::JobOverlap {
    match overlap {
        Overlap::Allow => v1::JobOverlap::Allow,
        Overlap::Forbid => v1::JobOverlap::Forbid,
        Overlap::Replace => v1::JobOverlap::Replace,
    }
}

/// Reads what follows when times have passed before they were seen.
pub(super) fn missed_runs_from_proto(
    number: i32,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<MissedRuns> {
    Some(match known(number, path, violations)? {
        v1::MissedRuns::Unspecified | v1::MissedRuns::RunOnce => MissedRuns::RunOnce,
        v1::MissedRuns::Skip => MissedRuns::Skip,
    })
}

/// Writes what follows when times have passed before they were seen.
pub(super) fn missed_runs_to_proto(missed_runs: MissedRuns) -> v1::MissedRuns {
    match missed_runs {
        MissedRuns::Skip => v1::MissedRuns::Skip,
        MissedRuns::RunOnce => v1::MissedRuns::RunOnce,
    }
}
