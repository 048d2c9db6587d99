//! What differs between two specs of a deployment or of a job, field by field, whatever fields there are.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use davit_core::deployment::{
    DEFAULT_KEPT_VERSIONS, Dependency, DependencyCondition, DeploymentMode, DeploymentSpec, UpdatePolicy,
};
use davit_core::job::{DEFAULT_KEPT_RUNS, DEFAULT_MAX_RETRIES, JobSpec};
use davit_core::restart::RestartMode;
use davit_proto::{FILE_DESCRIPTOR_SET, convert, v1};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use super::plainest::{plainest_schedule, plainest_task};

/// What tells the entries of a list apart, so that one that is added changes no other.
const IDENTITIES: [&str; 6] = ["target", "container_port", "name", "expression", "attribute", "deployment"];

/// What is told of whatever has it, as it says that it is there.
const ALWAYS_TOLD: [&str; 4] = ["task.container.image", "schedule.cron", "schedule.time_zone", "rollback_policy.order"];

static DESCRIPTORS: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).ok());

/// Something that is wanted by an app.
pub(crate) trait Spec: PartialEq {
    /// The name of its message.
    const MESSAGE: &'static str;

    /// As a message, with all defaults filled in.
    fn message(&self, name: &str) -> Vec<u8>;

    /// One of the same image in which nothing else was asked for: what it has of ports, files and the like is at its default.
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
            rollback: self.rollback.as_ref().map(|_| UpdatePolicy::default()),
            kept_versions: DEFAULT_KEPT_VERSIONS,
            app: self.app.clone(),
            start_after: plainest_dependencies(&self.start_after),
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
            parallelism: self.completions,
            arguments: [].into(),
            max_retries: DEFAULT_MAX_RETRIES,
            max_failed_indexes: 0,
            deadline: None,
            time_to_live: None,
            schedule: self.schedule.as_ref().map(plainest_schedule),
            kept_succeeded: DEFAULT_KEPT_RUNS,
            kept_failed: DEFAULT_KEPT_RUNS,
            app: self.app.clone(),
            start_after: plainest_dependencies(&self.start_after),
        }
    }
}

/// What differs, by path; of what comes or goes only what is not at its default. Without a spec before, all of it comes.
pub(crate) fn spec_changes<S: Spec>(name: &str, before: Option<&S>, after: &S) -> Vec<v1::FieldChange> {
    let mut before_fields = before.map(|before| fields(name, before)).unwrap_or_default();
    let usual = fields(name, &after.plainest());
    let mut changes: BTreeMap<String, v1::FieldChange> = BTreeMap::new();
    for (path, value) in fields(name, after) {
        let before = before_fields.remove(&path);
        let is_told = match &before {
            Some(before) => *before != value,
            None => is_told(&usual, &path, &value),
        };
        if is_told {
            changes.insert(path.clone(), v1::FieldChange { path, before, after: Some(value) });
        }
    }
    let usual = before.map(|before| fields(name, &before.plainest())).unwrap_or_default();
    for (path, value) in before_fields.into_iter().filter(|(path, value)| is_told(&usual, path, value)) {
        changes.insert(path.clone(), v1::FieldChange { path, before: Some(value), after: None });
    }
    changes.into_values().collect()
}

/// Whether it is told that a field is there with this value.
fn is_told(usual: &BTreeMap<String, String>, path: &str, value: &str) -> bool {
    let is_condition = path.starts_with("start_after[") && path.ends_with("].condition");
    is_condition || ALWAYS_TOLD.contains(&path) || usual.get(path).is_none_or(|usual| usual != value)
}

fn plainest_dependencies(dependencies: &[Dependency]) -> Vec<Dependency> {
    let plain = |dependency: &Dependency| Dependency {
        deployment: dependency.deployment.clone(),
        condition: DependencyCondition::Started,
        required: true,
    };
    dependencies.iter().map(plain).collect()
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
            ]
        );
    }

    #[test]
    fn what_goes_is_told_without_what_was_at_its_default() {
        let before = spec(|spec, container| {
            container.ports = vec![v1::Port { container_port: 80, host_port: 8080, ..Default::default() }];
            spec.start_after = vec![v1::Dependency { deployment: "db".to_owned(), ..Default::default() }];
        });
        assert_eq!(
            told(&spec_changes("web", Some(&before), &spec(|_, _| ()))),
            [
                "start_after[db].condition: DEPENDENCY_CONDITION_STARTED => -",
                "task.container.ports[80].host_port: 8080 => -",
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

    #[test]
    fn what_is_at_its_default_is_not_told_of_a_new_one_but_that_it_is_there() {
        let nothing: Option<&DeploymentSpec> = None;
        let dependency = |name: &str, condition: v1::DependencyCondition| v1::Dependency {
            deployment: name.to_owned(),
            condition: condition.into(),
            required: Some(name != "cache"),
        };
        let port = |container_port, host_port, protocol: v1::PortProtocol| v1::Port {
            container_port,
            host_port,
            protocol: protocol.into(),
        };
        let full = spec(|spec, container| {
            container.ports = vec![
                port(80, 8080, v1::PortProtocol::Tcp),
                port(53, 53, v1::PortProtocol::Udp),
                port(90, 0, v1::PortProtocol::Tcp),
            ];
            container.files = vec![
                v1::FileGrant { name: "conf".to_owned(), ..Default::default() },
                v1::FileGrant { name: "key".to_owned(), secret: true, mode: Some(0o400), uid: 7, ..Default::default() },
            ];
            spec.start_after = vec![
                dependency("db", v1::DependencyCondition::Started),
                dependency("cache", v1::DependencyCondition::Healthy),
            ];
            spec.rollback_policy = Some(v1::UpdatePolicy { parallelism: Some(3), ..Default::default() });
        });
        insta::assert_snapshot!(told(&spec_changes("web", nothing, &full)).join("\n"));
    }
}
