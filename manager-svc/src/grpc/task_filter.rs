//! Which tasks a list shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use davit_core::id::TaskId;
use davit_core::spec::check_name;
use davit_core::state::TaskState;
use davit_core::task::Task;
use davit_core::validate::Violations;
use davit_proto::{convert, v1};
use davit_svc_kit::grpc::ApiError;

use super::deployment_service::no_deployment;
use super::errors::no_node;
use super::job_service::no_job;
use crate::state::ClusterState;

/// How long an id is, as text.
const ID_CHARS: usize = 36;

/// Tasks one after the other.
type Tasks<'a> = Box<dyn Iterator<Item = &'a Arc<Task>> + Send + 'a>;

/// Selects tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskFilter {
    states: Vec<TaskState>,
    node: String,
    labels: BTreeMap<String, String>,
    name: String,
    id_part: String,
    deployment: String,
    job: String,
}

impl TaskFilter {
    /// Reads a filter; what is wrong is noted.
    pub(super) fn from_proto(filter: v1::TaskFilter, violations: &mut Violations) -> Option<Self> {
        let states = convert::task_states_from_proto(&filter.states, "filter.states", violations);
        let labels = convert::labels_from_proto(filter.labels, convert::MAX_LABELS, "filter.labels", violations);
        if !filter.name.is_empty() {
            violations.check("filter.name", check_name(&filter.name));
        }
        let id_part = filter.id_part.to_ascii_lowercase();
        let of_an_id = |character: char| character.is_ascii_hexdigit() || character == '-';
        if id_part.len() > ID_CHARS || !id_part.chars().all(of_an_id) {
            violations
                .add("filter.id_part", "is the beginning or the end of an id: up to 36 hexadecimal digits and `-`");
        }
        Some(Self {
            states,
            node: filter.node,
            labels: labels?,
            name: filter.name,
            id_part,
            deployment: filter.deployment,
            job: filter.job,
        })
    }

    /// The tasks after one of them among which those are that it selects, oldest first: all, or those of the node, the deployment
    /// and the job that it names.
    ///
    /// # Errors
    /// When there is none of these: an empty answer would hide a mistyped name.
    pub(super) fn candidates<'a>(&self, state: &'a ClusterState, after: Option<TaskId>) -> Result<Tasks<'a>, ApiError> {
        let mut tasks: Tasks<'a> = if self.node.is_empty() {
            Box::new(state.tasks_after(after))
        } else {
            let node = state.find_node(&self.node).ok_or_else(|| no_node(&self.node))?;
            Box::new(state.tasks_of_node_after(node.node_id, after))
        };
        if !self.deployment.is_empty() {
            let known = state.find_deployment(&self.deployment).ok_or_else(|| no_deployment(&self.deployment))?;
            let wanted = known.deployment_id;
            tasks = Box::new(tasks.filter(move |task| task.slot().is_some_and(|(of, _)| of == wanted)));
        }
        if !self.job.is_empty() {
            let wanted = state.find_job(&self.job).ok_or_else(|| no_job(&self.job))?.job_id;
            tasks = Box::new(tasks.filter(move |task| task.run_index().is_some_and(|(of, _)| of == wanted)));
        }
        Ok(tasks)
    }

    /// Whether it selects one of those.
    pub(super) fn matches(&self, task: &Task) -> bool {
        (self.states.is_empty() || self.states.contains(&task.status.state))
            && (self.name.is_empty() || task.spec.name == self.name)
            && self.labels.iter().all(|(key, value)| task.spec.labels.get(key) == Some(value))
            && (self.id_part.is_empty() || self.id_matches(task))
    }

    fn id_matches(&self, task: &Task) -> bool {
        let mut text = [0; ID_CHARS];
        let text = task.task_id.0.hyphenated().encode_lower(&mut text);
        text.starts_with(&self.id_part) || text.ends_with(&self.id_part)
    }
}
