//! What differs between two specs of a deployment or of a job, field by field, whatever fields there are.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use davit_core::deployment::{DEFAULT_KEPT_VERSIONS, DeploymentMode, DeploymentSpec, UpdatePolicy};
use davit_core::job::{DEFAULT_KEPT_RUNS, DEFAULT_MAX_RETRIES, JobSpec};
use davit_core::restart::{RestartMode, RestartPolicy};
use davit_core::spec::{ContainerNetwork, ContainerSpec, RuntimeSpec, TaskSpec};
use davit_proto::{FILE_DESCRIPTOR_SET, convert, v1};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::map::{APP_LABEL, SERVICE_LABEL};

/// What tells the entries of a list apart, so that one that is added changes no other.
const IDENTITIES: [&str; 6] = ["target", "container_port", "name", "expression", "attribute", "deployment"];

/// What is told of everything that is created, whatever it is.
const ALWAYS_TOLD: &str = "task.container.image";

static DESCRIPTORS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());

/// Something that is wanted by an app.
pub(crate) trait Spec: PartialEq {
    /// The name of its message.
    const MESSAGE: &'static str;

    /// As a message, with all defaults filled in.
    fn message(&self, name: &str) -> Vec<u8>;

    /// One of the same image in which nothing else was asked for.
    fn plainest(&self) -> Self;
}

impl Spec for DeploymentSpec {
    const MESSAGE: &'static str = "DeploymentSpec";

    fn message(&self, name: &str) -> Vec<u8> {
        convert::deployment_spec_to_proto(name, self).encode_to_vec()
    }

    fn plainest(&self) -> Self {
        Self {
            labels: BTreeMap::new(),
            mode: DeploymentMode::Replicated { replicas: 1 },
            task: plainest_task(&self.task, RestartMode::Always),
            update: UpdatePolicy::default(),
            rollback: None,
            kept_versions: DEFAULT_KEPT_VERSIONS,
            app: self.app.clone(),
            start_after: Vec::new(),
        }
    }
}

impl Spec for JobSpec {
    const MESSAGE: &'static str = "JobSpec";

    fn message(&self, name: &str) -> Vec<u8> {
        convert::job_spec_to_proto(name, self).encode_to_vec()
    }

    fn plainest(&self) -> Self {
        Self {
            labels: BTreeMap::new(),
            task: plainest_task(&self.task, RestartMode::OnFailure),
            completions: 1,
            parallelism: 1,
            arguments: [].into(),
            max_retries: DEFAULT_MAX_RETRIES,
            max_failed_indexes: 0,
            deadline: None,
            time_to_live: None,
            schedule: None,
            kept_succeeded: DEFAULT_KEPT_RUNS,
            kept_failed: DEFAULT_KEPT_RUNS,
            app: self.app.clone(),
            start_after: Vec::new(),
        }
    }
}

/// What differs, by path. Without a spec before: what is set and is not the default.
pub(crate) fn spec_changes<S: Spec>(name: &str, before: Option<&S>, after: &S) -> Vec<v1::FieldChange> {
    let after_fields = fields(name, after);
    let Some(before) = before else {
        let default = fields(name, &after.plainest());
        let told =
            |path: &str, value: &str| path == ALWAYS_TOLD || default.get(path).is_none_or(|usual| usual != value);
        let set = after_fields.into_iter().filter(|(path, value)| told(path, value));
        return set.map(|(path, value)| v1::FieldChange { path, before: None, after: Some(value) }).collect();
    };
    let mut before_fields = fields(name, before);
    let mut changes: BTreeMap<String, v1::FieldChange> = BTreeMap::new();
    for (path, value) in after_fields {
        let before = before_fields.remove(&path);
        if before.as_ref() != Some(&value) {
            changes.insert(path.clone(), v1::FieldChange { path, before, after: Some(value) });
        }
    }
    for (path, value) in before_fields {
        changes.insert(path.clone(), v1::FieldChange { path, before: Some(value), after: None });
    }
    changes.into_values().collect()
}

/// A task of the same image in which nothing else was asked for.
fn plainest_task(spec: &Arc<TaskSpec>, mode: RestartMode) -> Arc<TaskSpec> {
    let RuntimeSpec::Container(container) = &spec.runtime else { return Arc::clone(spec) };
    let own_labels = spec.labels.iter().filter(|(key, _)| key.starts_with("davit."));
    let network = container.network.as_ref().map(|_| plainest_network(spec));
    let runtime = RuntimeSpec::Container(ContainerSpec { network, ..ContainerSpec::new(container.image.clone()) });
    let labels = own_labels.map(|(key, value)| (key.clone(), value.clone())).collect();
    let restart = RestartPolicy { mode, ..RestartPolicy::default() };
    Arc::new(TaskSpec { labels, restart, ..TaskSpec::new(spec.name.clone(), runtime) })
}

/// That of a service that has no further names.
fn plainest_network(spec: &TaskSpec) -> ContainerNetwork {
    let label = |key| spec.labels.get(key).cloned();
    let aliases = label(SERVICE_LABEL).into_iter().chain([spec.name.clone()]).collect();
    ContainerNetwork { name: label(APP_LABEL).unwrap_or_default(), aliases }
}

/// All fields that are set, by path.
fn fields<S: Spec>(name: &str, spec: &S) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    if let Some(tree) = tree(S::MESSAGE, &spec.message(name)) {
        flatten(&tree, String::new(), &mut fields);
    }
    fields
}

/// The message as JSON, with the names that stand in the .proto files.
fn tree(message: &str, bytes: &[u8]) -> Option<Value> {
    let descriptor = DESCRIPTORS.as_ref()?.get_message_by_name(&format!("{}.{message}", davit_proto::PACKAGE))?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

fn flatten(value: &Value, path: String, fields: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(object) if object.is_empty() => {
            fields.insert(path, "set".to_owned());
        }
        Value::Object(object) => {
            for (key, value) in object {
                flatten(value, joined(&path, key), fields);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let mut seen: BTreeMap<String, u32> = BTreeMap::new();
            for item in items {
                let known = IDENTITIES.into_iter().find_map(|name| Some((name, text(item.get(name)?))));
                let (name, identity) = known.unwrap_or_default();
                let count = seen.entry(identity.clone()).or_default();
                *count += 1;
                let nth = if *count > 1 { format!("#{count}") } else { String::new() };
                let mut item = item.clone();
                if let Value::Object(object) = &mut item {
                    // The path says it.
                    object.remove(name);
                }
                flatten(&item, format!("{path}[{identity}{nth}]"), fields);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
            fields.insert(path, text(value));
        }
    }
}

fn joined(path: &str, key: &str) -> String {
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match (path.is_empty(), is_word) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}[{key}]"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(change: impl FnOnce(&mut v1::DeploymentSpec, &mut v1::ContainerSpec)) -> DeploymentSpec {
        let mut container = v1::ContainerSpec { image: "web:1".to_owned(), ..Default::default() };
        let mut spec = v1::DeploymentSpec { name: "web".to_owned(), ..Default::default() };
        change(&mut spec, &mut container);
        let runtime = Some(v1::task_spec::Runtime::Container(container));
        spec.task = Some(v1::TaskSpec { runtime, ..Default::default() });
        let mut violations = davit_core::validate::Violations::new();
        convert::deployment_spec_from_proto(spec, "spec", &mut violations).unwrap().1
    }

    fn told(changes: &[v1::FieldChange]) -> Vec<String> {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".to_owned());
        changes.iter().map(|each| format!("{}: {} => {}", each.path, side(&each.before), side(&each.after))).collect()
    }

    #[test]
    fn what_differs_is_told_by_path_and_nothing_else() {
        let before = spec(|_, container| {
            container.env = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())].into();
            container.command = vec!["serve".to_owned()];
        });
        let after = spec(|spec, container| {
            container.env = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "3".to_owned())].into();
            container.command = vec!["serve".to_owned(), "--quietly".to_owned()];
            container.ports = vec![v1::Port { container_port: 80, host_port: 8080, ..Default::default() }];
            spec.labels = [("a.b/c".to_owned(), "x".to_owned())].into();
        });
        assert_eq!(told(&spec_changes("web", Some(&before), &before)), Vec::<String>::new());
        assert_eq!(
            told(&spec_changes("web", Some(&before), &after)),
            [
                "labels[a.b/c]: - => x",
                "task.container.command: [\"serve\"] => [\"serve\",\"--quietly\"]",
                "task.container.env.B: 2 => 3",
                "task.container.ports[80].host_port: - => 8080",
                "task.container.ports[80].protocol: - => PORT_PROTOCOL_TCP",
            ]
        );
    }

    #[test]
    fn of_a_new_one_what_was_asked_for_is_told() {
        let nothing: Option<&DeploymentSpec> = None;
        assert_eq!(told(&spec_changes("web", nothing, &spec(|_, _| ()))), ["task.container.image: - => web:1"]);
        let global = spec(|spec, _| spec.mode = Some(v1::deployment_spec::Mode::Global(v1::GlobalMode {})));
        assert_eq!(
            told(&spec_changes("web", nothing, &global)),
            ["global: - => set", "task.container.image: - => web:1"]
        );
    }
}
