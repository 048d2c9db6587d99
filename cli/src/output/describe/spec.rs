//! What a task is to be, line by line.

use davit_core::file::FileGrant;
use davit_core::words::counted;
use davit_proto::v1;

use super::{Lines, amounts};

/// What a task is to be.
pub(in crate::output) fn add_spec(lines: &mut Lines, spec: &v1::TaskSpec) {
    lines.add_pairs("Labels", &spec.labels);
    match &spec.runtime {
        Some(v1::task_spec::Runtime::Container(container)) => {
            lines.add("Image", &container.image);
            lines.add("Entrypoint", words(&container.entrypoint));
            lines.add("Command", words(&container.command));
            lines.add_pairs("Environment", &container.env);
            lines.add("Directory", &container.working_dir);
            lines.add("User", &container.user);
            lines.add("Mounts", container.mounts.iter().map(mount).collect::<Vec<_>>().join("\n"));
            lines.add("Files", container.files.iter().map(file).collect::<Vec<_>>().join("\n"));
        }
        Some(v1::task_spec::Runtime::Process(process)) => {
            lines.add("Process", words(&process.command));
            lines.add_pairs("Environment", &process.env);
            lines.add("Directory", &process.working_dir);
        }
        None => {}
    }
    let resources = spec.resources.unwrap_or_default();
    lines.add("Reservation", amounts(resources.reservation));
    lines.add("Limit", amounts(resources.limit));
    lines.add("Constraints", spec.constraints.join("\n"));
    if let Some(policy) = &spec.placement {
        add_policy(lines, policy);
    }
    if let Some(policy) = &spec.restart_policy {
        let mode = policy.mode().as_str_name();
        let mode = mode.strip_prefix("RESTART_MODE_").unwrap_or(mode);
        let limit = match policy.max_attempts {
            0 => String::new(),
            most => format!(", at most {}", counted(most.into(), "attempt", "attempts")),
        };
        lines.add("Restart", format!("{mode}{limit}"));
    }
    lines.add("Health check", spec.health_check.as_deref().map(health_check).unwrap_or_default());
    lines.add("Node loss", spec.on_node_loss.as_ref().map(node_loss).unwrap_or_default());
}

/// A config or a secret, where it is.
fn file(grant: &v1::FileGrant) -> String {
    let kind = if grant.secret { "secret" } else { "config" };
    let v1::FileGrant { name, target, digest, uid, gid, mode, .. } = grant;
    format!("{target}: {kind} {name} {digest}, {uid}:{gid} {:04o}", mode.unwrap_or(FileGrant::DEFAULT_MODE))
}

/// How its node finds out whether it serves.
fn health_check(check: &v1::HealthCheck) -> String {
    use v1::health_check::Probe;
    let probe = match &check.probe {
        Some(Probe::Http(http)) => format!("http GET :{}{}", http.port, http.path),
        Some(Probe::Tcp(tcp)) => format!("tcp :{}", tcp.port),
        Some(Probe::Grpc(grpc)) if grpc.service.is_empty() => format!("grpc :{}", grpc.port),
        Some(Probe::Grpc(grpc)) => format!("grpc :{}/{}", grpc.port, grpc.service),
        Some(Probe::Exec(exec)) => format!("exec {}", words(&exec.command)),
        None => "?".to_owned(),
    };
    let mut text = probe;
    for (name, span) in [("every", check.interval), ("timeout", check.timeout), ("start period", check.start_period)] {
        let span = span.unwrap_or_default();
        if (span.seconds, span.nanos) != (0, 0) {
            text.push_str(&format!(", {name} {} s", span.seconds as f64 + f64::from(span.nanos) / 1e9));
        }
    }
    if check.retries > 0 {
        let failures = counted(check.retries.into(), "failure", "failures in a row");
        text.push_str(&format!(", unhealthy after {failures}"));
    }
    text
}

/// What happens when the task's node goes down; empty for what happens to most tasks.
fn node_loss(policy: &v1::NodeLossPolicy) -> String {
    match policy.action() {
        v1::NodeLossAction::Unspecified | v1::NodeLossAction::Replace => String::new(),
        v1::NodeLossAction::Wait => {
            let wait = policy.wait.unwrap_or_default();
            format!("replaced after {} s", wait.seconds)
        }
        v1::NodeLossAction::StopAndReplace => "stopped, then replaced: never two at once".to_owned(),
    }
}

fn add_policy(lines: &mut Lines, policy: &v1::PlacementPolicy) {
    lines.add("Platform", &policy.platform);
    lines.add("Near", policy.task_affinities.join("\n"));
    lines.add("Away from", policy.task_anti_affinities.join("\n"));
    lines.add("Per node", policy.max_per_node.map(|most| format!("at most {most}")).unwrap_or_default());
    let weighed = |likes: bool| {
        let chosen = policy.affinities.iter().filter(|each| (each.weight > 0) == likes);
        let one = |each: &v1::NodeAffinity| format!("{} (weight {})", each.expression, each.weight.unsigned_abs());
        chosen.map(one).collect::<Vec<_>>().join("\n")
    };
    lines.add("Prefers", weighed(true));
    lines.add("Avoids", weighed(false));
    let over = |each: &v1::SpreadPreference| match each.weight {
        Some(weight) => format!("{} (weight {weight})", each.attribute),
        None => each.attribute.clone(),
    };
    lines.add("Spread over", policy.spread.iter().map(over).collect::<Vec<_>>().join("\n"));
    lines.add("Algorithm", &policy.algorithm);
    if policy.priority != 0 || policy.may_preempt {
        let preempts = if policy.may_preempt { ", may take the place of lower ones" } else { "" };
        lines.add("Priority", format!("{}{preempts}", policy.priority));
    }
}

fn mount(mount: &v1::Mount) -> String {
    let source = match &mount.source {
        Some(v1::mount::Source::BindPath(path)) => path,
        Some(v1::mount::Source::VolumeName(name)) => name,
        None => "?",
    };
    let access = if mount.read_only { ":ro" } else { "" };
    format!("{source}:{}{access}", mount.target)
}

/// Words so that a shell would read the same ones.
pub(super) fn words(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}
