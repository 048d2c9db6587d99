//! Events.

use std::sync::Arc;

use davit_core::id::Revision;
use davit_proto::store_v1::event_record;
use davit_proto::store_v1::{EventKind, EventRecord};

use super::{
    Malformed, SpecKey, SpecSource, malformed, node_from_record, node_to_record, task_from_record, task_to_record,
    time_from, time_to,
};
use crate::state::{Event, EventType, Object};

/// Writes an event; `spec_key` is that of its task, if it is about one.
pub(in crate::store) fn event_to_record(event: &Event, spec_key: Option<SpecKey>) -> EventRecord {
    let Event { revision, time, event_type, message, object } = event;
    let object = match (object, spec_key) {
        (Object::Task(task), Some(spec_key)) => Some(event_record::Object::Task(task_to_record(task, spec_key))),
        (Object::Task(_), None) => None,
        (Object::Node(node), _) => Some(event_record::Object::Node(node_to_record(node))),
    };
    EventRecord {
        revision: revision.0,
        time: Some(time_to(*time)),
        kind: kind_of(*event_type).into(),
        message: message.clone(),
        object,
    }
}

/// Reads an event. Says also which spec its task has.
pub(in crate::store) fn event_from_record(
    record: EventRecord,
    specs: &impl SpecSource,
) -> Result<(Event, Option<SpecKey>), Malformed> {
    let Some(event_type) = EventKind::try_from(record.kind).ok().and_then(event_type_of) else {
        return malformed(format!("kind {} is not known", record.kind));
    };
    let (object, spec_key) = match record.object {
        Some(event_record::Object::Task(task)) => {
            let (task, spec_key) = task_from_record(task, specs)?;
            (Object::Task(Arc::new(task)), Some(spec_key))
        }
        Some(event_record::Object::Node(node)) => (Object::Node(Arc::new(node_from_record(node)?)), None),
        None => return malformed("object is missing"),
    };
    let time = time_from(record.time, "time")?;
    let event = Event { revision: Revision(record.revision), time, event_type, message: record.message, object };
    Ok((event, spec_key))
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
    }
}
