//! What a user wants run.

use davit_core::constraint::{Constraint, MAX_EXPRESSION_BYTES};
use davit_core::placement::RuntimeKind;
use davit_core::spec::{ProcessSpec, RuntimeSpec, TaskSpec, check_name};
use davit_core::validate::Violations;
use prost::Message as _;

use super::common::{MAX_LABELS, labels_from_proto};
use super::container::{container_from_proto, container_to_proto, process_from_proto};
use super::health::{health_check_from_proto, health_check_to_proto};
use super::path::{FieldPath, field, item};
use super::placement_policy::{Owner, placement_policy_from_proto, placement_policy_to_proto};
use super::policy::{
    on_node_loss_from_proto, on_node_loss_to_proto, restart_policy_from_proto, restart_policy_to_proto,
    stop_policy_from_proto, stop_policy_to_proto,
};
use super::resources::{resource_requirements_to_proto, task_resources_from_proto};
use crate::v1;

/// The largest spec that is accepted, encoded: a million tasks are kept in memory.
pub const MAX_SPEC_BYTES: usize = 256 * 1024;
/// How many constraints a task may have.
pub const MAX_CONSTRAINTS: usize = 32;

/// Reads what a user wants run.
pub fn task_spec_from_proto<'a>(
    spec: v1::TaskSpec,
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<TaskSpec> {
    let path = &path.into();
    let bytes = spec.encoded_len();
    if bytes > MAX_SPEC_BYTES {
        // Nothing else is looked at: whatever is wrong in it could be as large again.
        violations.add(path, format!("has at most {MAX_SPEC_BYTES} bytes encoded, this has {bytes}"));
        return None;
    }
    let before = violations.0.len();
    violations.check(field(path, "name"), check_name(&spec.name));
    let labels = labels_from_proto(spec.labels, MAX_LABELS, field(path, "labels"), violations);
    let kind = match &spec.runtime {
        Some(v1::task_spec::Runtime::Container(_)) => Some(RuntimeKind::Docker),
        Some(v1::task_spec::Runtime::Process(_)) => Some(RuntimeKind::Process),
        None => None,
    };
    let runtime = match spec.runtime {
        Some(v1::task_spec::Runtime::Container(container)) => {
            container_from_proto(container, &field(path, "container"), violations).map(RuntimeSpec::Container)
        }
        Some(v1::task_spec::Runtime::Process(process)) => {
            process_from_proto(process, &field(path, "process"), violations).map(RuntimeSpec::Process)
        }
        None => {
            violations.add(path, "needs a runtime: container or process");
            None
        }
    };
    let resources = task_resources_from_proto(spec.resources, kind, field(path, "resources"), violations);
    let constraints = constraints_from_proto(&spec.constraints, field(path, "constraints"), violations);
    let restart = restart_policy_from_proto(spec.restart_policy, field(path, "restart_policy"), violations);
    let stop = stop_policy_from_proto(spec.stop_policy, field(path, "stop_policy"), violations);
    let placement_path = field(path, "placement");
    let placement = match &labels {
        Some(labels) => {
            let owner = Owner { name: &spec.name, labels };
            placement_policy_from_proto(spec.placement, &owner, &placement_path, violations)
        }
        None => None,
    };
    let on_node_loss = on_node_loss_from_proto(spec.on_node_loss, field(path, "on_node_loss"), violations);
    let health_check = health_check_from_proto(spec.health_check, &field(path, "health_check"), violations);
    let spec = TaskSpec {
        name: spec.name,
        labels: labels?,
        runtime: runtime?,
        resources: resources?,
        constraints: constraints?,
        placement: placement?,
        restart: restart?,
        stop: stop?,
        on_node_loss: on_node_loss?,
        health_check: health_check?,
    };
    // Written out again, with defaults filled in and constraints in full, a spec may be somewhat larger; workers must accept
    // it in that form too. Only a spec near the limit can get over it.
    if bytes > MAX_SPEC_BYTES / 2 {
        let bytes = task_spec_to_proto(&spec).encoded_len();
        if bytes > MAX_SPEC_BYTES {
            violations.add(path, format!("has at most {MAX_SPEC_BYTES} bytes with its defaults, this has {bytes}"));
        }
    }
    (violations.0.len() == before).then_some(spec)
}

/// Reads constraint expressions, keeping their order.
pub fn constraints_from_proto<'a>(
    texts: &[String],
    path: impl Into<FieldPath<'a>>,
    violations: &mut Violations,
) -> Option<Vec<Constraint>> {
    let path = &path.into();
    let before = violations.0.len();
    if texts.len() > MAX_CONSTRAINTS {
        violations.add(path, format!("has at most {MAX_CONSTRAINTS} constraints, this has {}", texts.len()));
        return None;
    }
    let read = |(index, text): (usize, &String)| expression_from_proto(text, &item(path, index), violations);
    let constraints: Vec<_> = texts.iter().enumerate().filter_map(read).collect();
    (violations.0.len() == before).then_some(constraints)
}

/// Reads one expression on nodes.
pub(super) fn expression_from_proto(
    text: &str,
    path: &FieldPath<'_>,
    violations: &mut Violations,
) -> Option<Constraint> {
    let constraint = violations.check(path, text.parse::<Constraint>())?;
    // Others read it in its full form, which says `node.labels.` and puts spaces: at most one for each byte. Most are so
    // short that there is nothing to count.
    if 2 * text.len() + "node.labels.".len() <= MAX_EXPRESSION_BYTES {
        return Some(constraint);
    }
    let bytes = constraint.to_string().len();
    if bytes > MAX_EXPRESSION_BYTES {
        let what =
            format!("in full (`node.labels.KEY == …`) has at most {MAX_EXPRESSION_BYTES} bytes, this has {bytes}");
        violations.add(path, what);
        return None;
    }
    Some(constraint)
}

/// Writes what a user wants run, with all defaults filled in.
#[must_use]
pub fn task_spec_to_proto(spec: &TaskSpec) -> v1::TaskSpec {
    v1::TaskSpec {
        name: spec.name.clone(),
        labels: spec.labels.clone(),
        runtime: Some(match &spec.runtime {
            RuntimeSpec::Container(container) => v1::task_spec::Runtime::Container(container_to_proto(container)),
            RuntimeSpec::Process(process) => v1::task_spec::Runtime::Process(process_to_proto(process)),
        }),
        resources: Some(resource_requirements_to_proto(spec.resources)),
        constraints: spec.constraints.iter().map(ToString::to_string).collect(),
        restart_policy: Some(restart_policy_to_proto(&spec.restart)),
        stop_policy: Some(stop_policy_to_proto(&spec.stop)),
        on_node_loss: Some(on_node_loss_to_proto(spec.on_node_loss)),
        placement: placement_policy_to_proto(&spec.placement),
        health_check: spec.health_check.as_deref().map(health_check_to_proto).map(Box::new),
    }
}

fn process_to_proto(process: &ProcessSpec) -> v1::ProcessSpec {
    v1::ProcessSpec {
        command: process.command.clone(),
        env: process.env.clone(),
        working_dir: process.working_dir.clone(),
    }
}
