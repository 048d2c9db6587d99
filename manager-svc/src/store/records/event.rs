//! Events.

use std::sync::Arc;

use davit_core::id::Revision;
use davit_proto::store_v1::event_record;
use davit_proto::store_v1::{EventKind, EventRecord};

use super::{
    Malformed, SpecKey, SpecSource, config_from_record, config_to_record, deployment_from_record, deployment_to_record,
    job_from_record, job_to_record, malformed, node_from_record, node_to_record, task_from_record, task_to_record,
    time_from, time_to,
};
use crate::state::{Event, EventType, Object};

/// Writes an event; `spec_keys` are those of its task, of its deployment's versions, or those that its job keeps.
pub(in crate::store) fn event_to_record(event: &Event, spec_keys: &[SpecKey]) -> EventRecord {
    let Event { revision, time, event_type, message, object } = event;
    let object = match (object, spec_keys) {
        (Object::Task(task), [spec_key, ..]) => Some(event_record::Object::Task(task_to_record(task, *spec_key))),
        (Object::Task(_), []) => None,
        (Object::Node(node), _) => Some(event_record::Object::Node(node_to_record(node))),
        (Object::Config(config), _) => Some(event_record::Object::Config(config_to_record(config))),
        (Object::Deployment(deployment), keys) => {
            Some(event_record::Object::Deployment(deployment_to_record(deployment, keys)))
        }
        (Object::Job(job), keys) => Some(event_record::Object::Job(job_to_record(job, keys))),
    };
    EventRecord {
        revision: revision.0,
        time: Some(time_to(*time)),
        kind: kind_of(*event_type).into(),
        message: message.clone(),
        object,
    }
}

/// Reads an event. Says also of which specs it tells.
pub(in crate::store) fn event_from_record(
    record: EventRecord,
    specs: &impl SpecSource,
) -> Result<(Event, Vec<SpecKey>), Malformed> {
    let Some(event_type) = EventKind::try_from(record.kind).ok().and_then(event_type_of) else {
        return malformed(format!("kind {} is not known", record.kind));
    };
    let (object, spec_keys) = match record.object {
        Some(event_record::Object::Task(task)) => {
            let (task, spec_key) = task_from_record(task, specs)?;
            (Object::Task(Arc::new(task)), vec![spec_key])
        }
        Some(event_record::Object::Node(node)) => (Object::Node(Arc::new(node_from_record(node)?)), Vec::new()),
        Some(event_record::Object::Deployment(deployment)) => {
            let (deployment, spec_keys) = deployment_from_record(deployment, specs)?;
            (Object::Deployment(Arc::new(deployment)), spec_keys)
        }
        Some(event_record::Object::Job(job)) => {
            let (job, spec_keys) = job_from_record(job, specs)?;
            (Object::Job(Arc::new(job)), spec_keys)
        }
        Some(event_record::Object::Config(config)) => {
            (Object::Config(Arc::new(config_from_record(config)?)), Vec::new())
        }
        None => return malformed("object is missing"),
    };
    let time = time_from(record.time, "time")?;
    let event = Event { revision: Revision(record.revision), time, event_type, message: record.message, object };
    Ok((event, spec_keys))
}

fn kind_of(event_type: EventType) -> EventKind {
    match event_type {
        EventType::TaskCreated => EventKind::TaskCreated,
        EventType::TaskStateChanged => EventKind::TaskStateChanged,
        EventType::TaskUpdated => EventKind::TaskUpdated,
        EventType::TaskDeleted => EventKind::TaskDeleted,
        EventType::NodeJoined => EventKind::NodeJoined,
        EventType::NodeStateChanged => EventKind::NodeStateChanged,
        EventType::NodeUpdated => EventKind::NodeUpdated,
        EventType::NodeRemoved => EventKind::NodeRemoved,
        EventType::DeploymentCreated => EventKind::DeploymentCreated,
        EventType::DeploymentUpdated => EventKind::DeploymentUpdated,
        EventType::DeploymentRolloutChanged => EventKind::DeploymentRolloutChanged,
        EventType::DeploymentDeleted => EventKind::DeploymentDeleted,
        EventType::JobCreated => EventKind::JobCreated,
        EventType::JobUpdated => EventKind::JobUpdated,
        EventType::JobRunChanged => EventKind::JobRunChanged,
        EventType::JobDeleted => EventKind::JobDeleted,
        EventType::ConfigCreated => EventKind::ConfigCreated,
        EventType::ConfigUpdated => EventKind::ConfigUpdated,
        EventType::ConfigDeleted => EventKind::ConfigDeleted,
    }
}

fn event_type_of(kind: EventKind) -> Option<EventType> {
    match kind {
        EventKind::Unspecified => None,
        EventKind::TaskCreated => Some(EventType::TaskCreated),
        EventKind::TaskStateChanged => Some(EventType::TaskStateChanged),
        EventKind::TaskUpdated => Some(EventType::TaskUpdated),
        EventKind::TaskDeleted => Some(EventType::TaskDeleted),
        EventKind::NodeJoined => Some(EventType::NodeJoined),
        EventKind::NodeStateChanged => Some(EventType::NodeStateChanged),
        EventKind::NodeUpdated => Some(EventType::NodeUpdated),
        EventKind::NodeRemoved => Some(EventType::NodeRemoved),
        EventKind::DeploymentCreated => Some(EventType::DeploymentCreated),
        EventKind::DeploymentUpdated => Some(EventType::DeploymentUpdated),
        EventKind::DeploymentRolloutChanged => Some(EventType::DeploymentRolloutChanged),
        EventKind::DeploymentDeleted => Some(EventType::DeploymentDeleted),
        EventKind::JobCreated => Some(EventType::JobCreated),
        EventKind::JobUpdated => Some(EventType::JobUpdated),
        EventKind::JobRunChanged => Some(EventType::JobRunChanged),
        EventKind::JobDeleted => Some(EventType::JobDeleted),
        EventKind::ConfigCreated => Some(EventType::ConfigCreated),
        EventKind::ConfigUpdated => Some(EventType::ConfigUpdated),
        EventKind::ConfigDeleted => Some(EventType::ConfigDeleted),
    }
}
