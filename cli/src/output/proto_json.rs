//! Messages for programs: the canonical JSON of protobuf, and the same as YAML.

use std::sync::LazyLock;

use davit_proto::{FILE_DESCRIPTOR_SET, v1};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Serialize;

use super::ordered::Ordered;

use crate::error::Error;

/// A message whose fields can be walked.
pub trait Described {
    /// The message with its descriptor.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    fn dynamic(&self) -> Result<DynamicMessage, Error>;
}

macro_rules! described {
    ($($message:ident),+ $(,)?) => {
        $(impl Described for v1::$message {
            fn dynamic(&self) -> Result<DynamicMessage, Error> {
                with_descriptor(stringify!($message), self)
            }
        })+
    };
}

described!(
    Task,
    Node,
    Event,
    Cluster,
    Job,
    JobRun,
    App,
    Config,
    Volume,
    Deployment,
    PlanAppResponse,
    ApplyAppResponse,
    DeleteAppResponse,
    WatchRolloutResponse,
    BatchCreateTasksResponse,
    ExplainPlacementResponse,
    ExplainTaskResponse,
    PlanRebalanceResponse,
    StreamTaskLogsResponse,
    TaskMove,
);

static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| error.to_string()));

fn with_descriptor(name: &str, message: &impl prost::Message) -> Result<DynamicMessage, Error> {
    let unreadable = |problem: String| Error::failed(format!("can't write a {name} as text: {problem}"));
    let pool = POOL.as_ref().map_err(|problem| unreadable(problem.clone()))?;
    let descriptor = described(pool, name).ok_or_else(|| unreadable("it is not described".to_owned()))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).map_err(|error| unreadable(error.to_string()))?;
    Ok(dynamic)
}

fn described(pool: &DescriptorPool, name: &str) -> Option<MessageDescriptor> {
    pool.get_message_by_name(&format!("{}.{name}", davit_proto::PACKAGE))
}

/// What a message of this name has for fields, if there is one.
pub(super) fn descriptor(name: &str) -> Option<MessageDescriptor> {
    described(POOL.as_ref().ok()?, name)
}

pub(super) fn one<M: Described>(message: &M) -> Result<Ordered, Error> {
    Ordered::new(&message.dynamic()?).map_err(|error| json_error(&error))
}

fn all<M: Described>(messages: &[M]) -> Result<Vec<Ordered>, Error> {
    messages.iter().map(one).collect()
}

fn json_error(error: &serde_json::Error) -> Error {
    Error::failed(format!("can't write JSON: {error}"))
}

/// Messages as a JSON array.
///
/// # Errors
/// When a message is not described.
pub fn json_list<M: Described>(messages: &[M]) -> Result<String, Error> {
    json(&all(messages)?)
}

/// A message as one line of JSON.
///
/// # Errors
/// When the message is not described.
pub fn json_line<M: Described>(message: &M) -> Result<String, Error> {
    serde_json::to_string(&one(message)?).map_err(|error| json_error(&error))
}

/// A message as a JSON object over several lines.
///
/// # Errors
/// When the message is not described.
pub fn json_object<M: Described>(message: &M) -> Result<String, Error> {
    json(&one(message)?)
}

/// Messages as a YAML list.
///
/// # Errors
/// When a message is not described.
pub fn yaml_list<M: Described>(messages: &[M]) -> Result<String, Error> {
    yaml(&all(messages)?)
}

/// A message as a YAML document of its own.
///
/// # Errors
/// When the message is not described.
pub fn yaml_document<M: Described>(message: &M) -> Result<String, Error> {
    document(&one(message)?)
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| json_error(&error))
}

pub(super) fn document<T: Serialize>(value: &T) -> Result<String, Error> {
    Ok(format!("---\n{}", yaml(value)?))
}

pub(super) fn yaml<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|error| Error::failed(format!("can't write YAML: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::failed_task;

    #[test]
    fn json_is_the_canonical_one() {
        insta::assert_snapshot!(json_list(&[failed_task()]).unwrap());
    }

    #[test]
    fn yaml_says_the_same() {
        insta::assert_snapshot!(yaml_list(&[failed_task()]).unwrap());
        let json: serde_json::Value = serde_json::from_str(&json_line(&failed_task()).unwrap()).unwrap();
        let yaml: serde_json::Value = serde_saphyr::from_str(&yaml(&one(&failed_task()).unwrap()).unwrap()).unwrap();
        assert_eq!(json, yaml);
    }

    #[test]
    fn every_message_that_is_written_is_described() {
        assert!(v1::Task::default().dynamic().is_ok());
        assert!(v1::Node::default().dynamic().is_ok());
        assert!(v1::Event::default().dynamic().is_ok());
        assert!(v1::Cluster::default().dynamic().is_ok());
        assert!(v1::Deployment::default().dynamic().is_ok());
        assert!(v1::Job::default().dynamic().is_ok());
        assert!(v1::JobRun::default().dynamic().is_ok());
        assert!(v1::App::default().dynamic().is_ok());
        assert!(v1::Volume::default().dynamic().is_ok());
        assert!(v1::PlanAppResponse::default().dynamic().is_ok());
        assert!(v1::ApplyAppResponse::default().dynamic().is_ok());
        assert!(v1::DeleteAppResponse::default().dynamic().is_ok());
        assert!(v1::WatchRolloutResponse::default().dynamic().is_ok());
        assert!(v1::BatchCreateTasksResponse::default().dynamic().is_ok());
        assert!(v1::StreamTaskLogsResponse::default().dynamic().is_ok());
        assert!(v1::PlanRebalanceResponse::default().dynamic().is_ok());
        assert!(v1::TaskMove::default().dynamic().is_ok());
        assert_eq!(json_list::<v1::Task>(&[]).unwrap(), "[]");
    }
}
