//! Events and their filters, from and to protobuf.

use davit_core::id::{DeploymentId, JobId, NodeId, TaskId};
use davit_core::validate::Violations;
use davit_proto::{convert, v1};

use super::job_service;
use crate::reconcile::trouble_of_job;
use crate::state::{Event, EventType, Object};

/// Selects events.
#[derive(Debug, Clone, Default)]
pub(super) struct EventFilter {
    types: Vec<EventType>,
    task_id: Option<TaskId>,
    node_id: Option<NodeId>,
    deployment_id: Option<DeploymentId>,
    job_id: Option<JobId>,
}

impl EventFilter {
    /// Reads a filter; what is wrong is noted.
    pub(super) fn from_proto(filter: Option<v1::EventFilter>, violations: &mut Violations) -> Self {
        let filter = filter.unwrap_or_default();
        let mut types = Vec::new();
        for (index, number) in filter.types.iter().enumerate() {
            match v1::EventType::try_from(*number).ok().and_then(event_type_from_proto) {
                Some(event_type) => types.push(event_type),
                None => violations.add(format!("filter.types[{index}]"), format!("{number} is not a type of event")),
            }
        }
        let (mut task_id, mut node_id) = (None, None);
        if !filter.task_id.is_empty() {
            task_id = convert::parse_task_id(&filter.task_id, "filter.task_id", violations);
        }
        if !filter.node_id.is_empty() {
            node_id = convert::parse_node_id(&filter.node_id, "filter.node_id", violations);
        }
        let mut parsed = |text: &str, field: &str| {
            let id = (!text.is_empty()).then(|| violations.check(field, text.parse::<DeploymentId>()));
            id.flatten().map(|DeploymentId(id)| id)
        };
        let deployment_id = parsed(&filter.deployment_id, "filter.deployment_id").map(DeploymentId);
        let job_id = parsed(&filter.job_id, "filter.job_id").map(JobId);
        Self { types, task_id, node_id, deployment_id, job_id }
    }

    /// Whether an event satisfies every field that is set.
    pub(super) fn matches(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.contains(&event.event_type))
            && self.deployment_id.is_none_or(|id| event.deployment_id() == Some(id))
            && self.job_id.is_none_or(|id| event.job_id() == Some(id))
            && self.task_id.is_none_or(|task_id| event.task_id() == Some(task_id))
            && self.node_id.is_none_or(|node_id| event.node_id() == Some(node_id))
    }
}

fn event_type_from_proto(event_type: v1::EventType) -> Option<EventType> {
    Some(match event_type {
        v1::EventType::Unspecified => return None,
        v1::EventType::TaskCreated => EventType::TaskCreated,
        v1::EventType::TaskStateChanged => EventType::TaskStateChanged,
        v1::EventType::TaskUpdated => EventType::TaskUpdated,
        v1::EventType::TaskDeleted => EventType::TaskDeleted,
        v1::EventType::NodeJoined => EventType::NodeJoined,
        v1::EventType::NodeStateChanged => EventType::NodeStateChanged,
        v1::EventType::NodeUpdated => EventType::NodeUpdated,
        v1::EventType::NodeRemoved => EventType::NodeRemoved,
        v1::EventType::DeploymentCreated => EventType::DeploymentCreated,
        v1::EventType::DeploymentUpdated => EventType::DeploymentUpdated,
        v1::EventType::DeploymentRolloutChanged => EventType::DeploymentRolloutChanged,
        v1::EventType::DeploymentDeleted => EventType::DeploymentDeleted,
        v1::EventType::JobCreated => EventType::JobCreated,
        v1::EventType::JobUpdated => EventType::JobUpdated,
        v1::EventType::JobRunChanged => EventType::JobRunChanged,
        v1::EventType::JobDeleted => EventType::JobDeleted,
        v1::EventType::ConfigCreated => EventType::ConfigCreated,
        v1::EventType::ConfigUpdated => EventType::ConfigUpdated,
        v1::EventType::ConfigDeleted => EventType::ConfigDeleted,
    })
}

fn event_type_to_proto(event_type: EventType) -> v1::EventType {
    match event_type {
        EventType::TaskCreated => v1::EventType::TaskCreated,
        EventType::TaskStateChanged => v1::EventType::TaskStateChanged,
        EventType::TaskUpdated => v1::EventType::TaskUpdated,
        EventType::TaskDeleted => v1::EventType::TaskDeleted,
        EventType::NodeJoined => v1::EventType::NodeJoined,
        EventType::NodeStateChanged => v1::EventType::NodeStateChanged,
        EventType::NodeUpdated => v1::EventType::NodeUpdated,
        EventType::NodeRemoved => v1::EventType::NodeRemoved,
        EventType::DeploymentCreated => v1::EventType::DeploymentCreated,
        EventType::DeploymentUpdated => v1::EventType::DeploymentUpdated,
        EventType::DeploymentRolloutChanged => v1::EventType::DeploymentRolloutChanged,
        EventType::DeploymentDeleted => v1::EventType::DeploymentDeleted,
        EventType::JobCreated => v1::EventType::JobCreated,
        EventType::JobUpdated => v1::EventType::JobUpdated,
        EventType::JobRunChanged => v1::EventType::JobRunChanged,
        EventType::JobDeleted => v1::EventType::JobDeleted,
        EventType::ConfigCreated => v1::EventType::ConfigCreated,
        EventType::ConfigUpdated => v1::EventType::ConfigUpdated,
        EventType::ConfigDeleted => v1::EventType::ConfigDeleted,
    }
}

/// Writes an event. A node in it has neither stats nor allocation: these are not part of the change.
pub(super) fn event_to_proto(event: &Event) -> v1::Event {
    let object = match &event.object {
        Object::Task(task) => v1::event::Object::Task(convert::task_to_proto(task)),
        Object::Node(node) => {
            let node = convert::node_to_proto(node, &convert::NodeUsage::default());
            v1::event::Object::Node(v1::Node { allocated: None, ..node })
        }
        Object::Config(config) => v1::event::Object::Config(convert::config_to_proto(config)),
        Object::Deployment(deployment) => {
            let view = convert::DeploymentView { newest_only: true, ..convert::DeploymentView::default() };
            v1::event::Object::Deployment(convert::deployment_to_proto(deployment, view))
        }
        Object::Job(job) => {
            let runs = job_service::told_of(job);
            v1::event::Object::Job(convert::job_to_proto(job, runs, trouble_of_job(job)))
        }
    };
    v1::Event {
        revision: event.revision.0,
        time: Some(convert::timestamp_to_proto(event.time)),
        r#type: event_type_to_proto(event.event_type).into(),
        message: event.message.clone(),
        object: Some(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_there_and_back() {
        let known = (1..100).filter_map(|number| v1::EventType::try_from(number).ok());
        let mut count = 0;
        for event_type in known {
            assert_eq!(event_type_from_proto(event_type).map(event_type_to_proto), Some(event_type));
            count += 1;
        }
        assert_eq!(count, 19);
    }

    #[test]
    fn everything_wrong_in_a_filter_is_noted() {
        let filter = v1::EventFilter {
            types: vec![1, 0, 99],
            task_id: "x".into(),
            node_id: "y".into(),
            deployment_id: "z".into(),
            job_id: "0".into(),
        };
        let mut violations = Violations::new();
        EventFilter::from_proto(Some(filter), &mut violations);
        let fields: Vec<_> = violations.0.iter().map(|violation| violation.field.as_str()).collect();
        let expected = [
            "filter.types[1]",
            "filter.types[2]",
            "filter.task_id",
            "filter.node_id",
            "filter.deployment_id",
            "filter.job_id",
        ];
        assert_eq!(fields, expected);
    }
}
