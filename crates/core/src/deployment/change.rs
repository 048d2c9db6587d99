//! What differs between two versions of a deployment, in one line for people.

use std::fmt::Write as _;

use super::{DeploymentMode, DeploymentSpec};
use crate::file::{FileDigest, FileGrant};
use crate::spec::{ContainerSpec, RuntimeSpec, TaskSpec};

/// The names of what differs; `no change` if nothing does.
#[must_use]
pub fn change_between(before: &DeploymentSpec, after: &DeploymentSpec) -> String {
    let mut changes = Changes(String::new());
    if before.mode != after.mode {
        changes.moved("replicas", mode(before.mode), mode(after.mode));
    }
    task_changes(&before.task, &after.task, &mut changes);
    changes.named("labels", before.labels != after.labels);
    changes.named("update policy", before.update != after.update);
    changes.named("rollback policy", before.rollback != after.rollback);
    changes.named("kept versions", before.kept_versions != after.kept_versions);
    changes.named("app", before.app != after.app);
    changes.named("what it starts after", before.start_after != after.start_after);
    if changes.0.is_empty() { "no change".to_owned() } else { changes.0 }
}

struct Changes(String);

impl Changes {
    fn named(&mut self, name: &str, differs: bool) {
        if differs {
            let separator = if self.0.is_empty() { "" } else { ", " };
            let _ = write!(self.0, "{separator}{name}");
        }
    }

    fn moved(&mut self, name: &str, before: impl std::fmt::Display, after: impl std::fmt::Display) {
        self.named(&format!("{name} {before} -> {after}"), true);
    }
}

fn mode(mode: DeploymentMode) -> String {
    match mode {
        DeploymentMode::Replicated { replicas } => replicas.to_string(),
        DeploymentMode::Global => "global".to_owned(),
    }
}

fn task_changes(before: &TaskSpec, after: &TaskSpec, changes: &mut Changes) {
    match (&before.runtime, &after.runtime) {
        (RuntimeSpec::Container(before), RuntimeSpec::Container(after)) => container_changes(before, after, changes),
        (RuntimeSpec::Process(before), RuntimeSpec::Process(after)) => {
            changes.named("command", before.command != after.command);
            changes.named("env", before.env != after.env);
            changes.named("working directory", before.working_dir != after.working_dir);
        }
        (RuntimeSpec::Container(_), RuntimeSpec::Process(_)) | (RuntimeSpec::Process(_), RuntimeSpec::Container(_)) => {
            changes.named("runtime", true);
        }
    }
    changes.named("task name", before.name != after.name);
    changes.named("task labels", before.labels != after.labels);
    changes.named("resources", before.resources != after.resources);
    changes.named("health check", before.health_check != after.health_check);
    changes.named("constraints", before.constraints != after.constraints);
    changes.named("placement", before.placement != after.placement);
    changes.named("restart policy", before.restart != after.restart);
    changes.named("stop policy", before.stop != after.stop);
    changes.named("node loss policy", before.on_node_loss != after.on_node_loss);
}

fn container_changes(before: &ContainerSpec, after: &ContainerSpec, changes: &mut Changes) {
    if before.image != after.image {
        changes.moved("image", &before.image, &after.image);
    }
    changes.named("entrypoint", before.entrypoint != after.entrypoint);
    changes.named("command", before.command != after.command);
    changes.named("env", before.env != after.env);
    changes.named("ports", before.ports != after.ports);
    for after in &after.files {
        let same = |before: &&FileGrant| before.config == after.config;
        let digest = before.files.iter().find(same).and_then(|before| before.digest);
        if let (Some(from), Some(to)) = (digest, after.digest)
            && from != to
        {
            changes.moved(&after.config.to_string(), short(from), short(to));
        }
    }
    changes.named("files", without_digests(before) != without_digests(after));
    changes.named("mounts", before.mounts != after.mounts || before.tmpfs != after.tmpfs);
    changes.named("network", before.network != after.network);
    changes.named("container settings", settings_differ(before, after));
}

/// Whether anything differs but what is named by itself.
fn settings_differ(before: &ContainerSpec, after: &ContainerSpec) -> bool {
    let ContainerSpec { image, entrypoint, command, env, mounts, ports, tmpfs, files, network, .. } = before.clone();
    let settings_of_after =
        ContainerSpec { image, entrypoint, command, env, mounts, ports, tmpfs, files, network, ..after.clone() };
    settings_of_after != *before
}

/// The files that a container is given, whatever they hold.
fn without_digests(container: &ContainerSpec) -> Vec<FileGrant> {
    container.files.iter().map(|grant| FileGrant { digest: None, ..grant.clone() }).collect()
}

/// Enough of a digest to tell one version from the next.
fn short(digest: FileDigest) -> String {
    digest.to_string().chars().take(19).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::deployment::{DEFAULT_KEPT_VERSIONS, UpdatePolicy};

    fn spec(image: &str) -> DeploymentSpec {
        let container = ContainerSpec::new(image.parse().unwrap());
        DeploymentSpec {
            labels: BTreeMap::new(),
            mode: DeploymentMode::Replicated { replicas: 2 },
            task: Arc::new(TaskSpec::new("web", RuntimeSpec::Container(container))),
            update: UpdatePolicy::default(),
            rollback: None,
            kept_versions: DEFAULT_KEPT_VERSIONS,
            app: String::new(),
            start_after: Vec::new(),
        }
    }

    #[test]
    fn settings_are_named_together() {
        let with = |change: fn(&mut ContainerSpec)| {
            let mut container = ContainerSpec::new("web:1".parse().unwrap());
            change(&mut container);
            DeploymentSpec { task: Arc::new(TaskSpec::new("web", RuntimeSpec::Container(container))), ..spec("web:1") }
        };
        for change in [
            |container: &mut ContainerSpec| container.user = "app".to_owned(),
            |container: &mut ContainerSpec| container.init = true,
            |container: &mut ContainerSpec| container.hostname = "web".to_owned(),
            |container: &mut ContainerSpec| container.log_bounds.max_files = 1,
        ] {
            assert_eq!(change_between(&spec("web:1"), &with(change)), "container settings");
        }
        let both = with(|container| (container.tty, container.env) = (true, [("A".to_owned(), String::new())].into()));
        assert_eq!(change_between(&spec("web:1"), &both), "env, container settings");
    }

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let before = spec("web:1");
        assert_eq!(change_between(&before, &before), "no change");
        let after = DeploymentSpec { mode: DeploymentMode::Replicated { replicas: 3 }, ..spec("web:2") };
        assert_eq!(change_between(&before, &after), "replicas 2 -> 3, image web:1 -> web:2");
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let after = DeploymentSpec { labels, mode: DeploymentMode::Global, ..spec("web:1") };
        assert_eq!(change_between(&before, &after), "replicas 2 -> global, labels");
    }
}
