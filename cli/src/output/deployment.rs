//! Deployments and their rollouts for people.

use comfy_table::Cell;
use davit_core::words::counted;
use davit_proto::v1;
use jiff::Timestamp;

use super::describe::{Lines, add_spec};
use super::live::LiveLine;
use super::style::{Palette, Tone};
use super::table::{render, since, toned};
use super::text::{age, from_proto_time};

/// Deployments, one a line.
#[must_use]
pub fn deployments_table(deployments: &[v1::Deployment], now: Timestamp, palette: Palette) -> String {
    let rows = deployments.iter().map(|deployment| {
        let counts = deployment.counts.unwrap_or_default();
        let spec = deployment.spec.clone().unwrap_or_default();
        vec![
            Cell::new(&spec.name),
            Cell::new(mode(&spec)),
            toned(&ready_of(counts.ready, counts.desired, counts.completed), ready_tone(&counts)),
            Cell::new(deployment.version),
            toned(&state_text(deployment), state_tone(deployment)),
            Cell::new(what(&spec)),
            Cell::new(since(deployment.create_time.as_ref(), now)),
            Cell::new(detail(deployment)),
        ]
    });
    render(&["NAME", "MODE", "READY", "VERSION", "ROLLOUT", "RUNS", "AGE", "DETAIL"], rows, palette)
}

/// All that is known of a deployment.
#[must_use]
pub fn deployment(deployment: &v1::Deployment, now: Timestamp, palette: Palette) -> String {
    let counts = deployment.counts.unwrap_or_default();
    let spec = deployment.spec.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines.add("Deployment", &deployment.deployment_id);
    lines.add("Name", &spec.name);
    lines.add("Mode", mode(&spec));
    let ready = ready_of(counts.ready, counts.desired, counts.completed);
    lines.add("Ready", palette.paint(ready_tone(&counts), &ready));
    lines.add("Trouble", palette.paint(Tone::Bad, &deployment.trouble));
    lines.add("Rollout", palette.paint(state_tone(deployment), &state_text(deployment)));
    lines.add("Reason", deployment.rollout.as_ref().map(|rollout| rollout.reason.as_str()).unwrap_or_default());
    lines.add("App", &spec.app);
    for dependency in &spec.start_after {
        lines.add("Starts after", dependency_text(dependency));
    }
    lines.add_pairs("Labels", &spec.labels);
    if let Some(task) = &spec.task {
        add_spec(&mut lines, task);
    }
    if let Some(policy) = &spec.update_policy {
        lines.add("Updates", policy_text(policy));
    }
    for version in deployment.versions.iter().rev() {
        let age = from_proto_time(version.create_time.as_ref()).map(|time| age(time, now)).unwrap_or_default();
        let by = if version.author.is_empty() { String::new() } else { format!(" by {}", version.author) };
        let proven = if version.proven { ", was healthy" } else { "" };
        lines.add("Version", format!("{}: {} ({age} ago{by}{proven})", version.version, version.change));
    }
    lines.add_time("Created", deployment.create_time.as_ref(), now);
    lines.finish()
}

/// How far a rollout is, and why it gets no further.
#[must_use]
pub fn rollout_line(message: &v1::WatchRolloutResponse, now: Timestamp, palette: Palette) -> LiveLine {
    let Some(deployment) = &message.deployment else { return LiveLine::default() };
    let name = deployment.spec.as_ref().map(|spec| spec.name.as_str()).unwrap_or_default();
    if message.deleted {
        return LiveLine::plain(format!("{name}  {}", palette.paint(Tone::Bad, "DELETED")));
    }
    let (counts, rollout) = (deployment.counts.unwrap_or_default(), deployment.rollout.clone().unwrap_or_default());
    if deployment.deleting {
        let stopping = counted(counts.stopping.into(), "task", "tasks");
        let state = palette.paint(state_tone(deployment), "DELETING");
        return LiveLine::plain(format!("{name}  {state}  {stopping} stopping"));
    }
    let mut parts = vec![format!("{} of {} ready", counts.ready, counts.desired)];
    if counts.completed > 0 {
        parts.push(format!("{} done", counts.completed));
    }
    if counts.outdated > 0 || rollout.from_version > 0 {
        parts.push(format!("{} new, {} old", counts.updated, counts.outdated));
    }
    if counts.stopping > 0 {
        parts.push(format!("{} stopping", counts.stopping));
    }
    if rollout.failed_count > 0 {
        parts.push(palette.paint(Tone::Bad, &format!("{} failed", rollout.failed_count)));
    }
    parts.extend(time_left(&rollout, now).map(|left| format!("{left} left")));
    let from = match rollout.from_version {
        0 => String::new(),
        from => format!(" from {from}"),
    };
    let state = palette.paint(state_tone(deployment), &state_text(deployment));
    let text = format!("{name}  version {}{from}  {state}  {}", deployment.version, parts.join(", "));
    LiveLine { text, cause: detail(deployment) }
}

/// The same, with a line for each node.
#[must_use]
pub fn rollout_view(message: &v1::WatchRolloutResponse, now: Timestamp, palette: Palette) -> Vec<LiveLine> {
    let of_nodes = message.nodes.iter().map(|node| {
        let name = if node.node.is_empty() { "(no node yet)" } else { &node.node };
        let old = if node.outdated > 0 { format!(", {} old", node.outdated) } else { String::new() };
        LiveLine::plain(format!("  {name}  {} new ({} ready){old}", node.updated, node.updated_ready))
    });
    std::iter::once(rollout_line(message, now, palette)).chain(of_nodes).collect()
}

fn time_left(rollout: &v1::Rollout, now: Timestamp) -> Option<String> {
    let deadline = from_proto_time(rollout.deadline.as_ref())?;
    let seconds = deadline.duration_since(now).as_secs();
    // Of few minutes the seconds too: they show that it goes on.
    if (60..600).contains(&seconds) {
        return Some(format!("{}m {}s", seconds / 60, seconds % 60));
    }
    // The other way round: so long ago from the deadline.
    Some(age(now, deadline))
}

fn mode(spec: &v1::DeploymentSpec) -> String {
    match spec.mode {
        Some(v1::deployment_spec::Mode::Global(_)) => "global".to_owned(),
        Some(v1::deployment_spec::Mode::Replicated(_)) | None => "replicated".to_owned(),
    }
}

/// The image, or the program.
fn what(spec: &v1::DeploymentSpec) -> String {
    match spec.task.as_ref().and_then(|task| task.runtime.as_ref()) {
        Some(v1::task_spec::Runtime::Container(container)) => container.image.clone(),
        Some(v1::task_spec::Runtime::Process(process)) => process.command.first().cloned().unwrap_or_default(),
        None => String::new(),
    }
}

fn ready_tone(counts: &v1::DeploymentCounts) -> Tone {
    if counts.ready + counts.completed >= counts.desired { Tone::Good } else { Tone::Waiting }
}

/// `2/3`, and how many of the others have done their work.
pub(super) fn ready_of(ready: u32, desired: u32, completed: u32) -> String {
    let done = if completed > 0 { format!(", {completed} done") } else { String::new() };
    format!("{ready}/{desired}{done}")
}

/// What is wrong, else why its rollout is where it is.
fn detail(deployment: &v1::Deployment) -> String {
    let stopping = deployment.counts.map_or(0, |counts| counts.stopping);
    if deployment.deleting && stopping > 0 {
        return format!("{} stopping", counted(stopping.into(), "task", "tasks"));
    }
    let rollout = deployment.rollout.clone().unwrap_or_default();
    // Why it was given up is not what is wrong with what was there before.
    let was_given_up = matches!(rollout.state(), v1::RolloutState::Paused | v1::RolloutState::Failed);
    match (rollout.reason.is_empty(), deployment.trouble.is_empty()) {
        (_, true) => rollout.reason,
        (false, false) if was_given_up && !rollout.reason.contains(&deployment.trouble) => {
            format!("{}; now {}", rollout.reason, deployment.trouble)
        }
        (_, false) => deployment.trouble.clone(),
    }
}

fn state_text(deployment: &v1::Deployment) -> String {
    if deployment.deleting {
        return "DELETING".to_owned();
    }
    let rollout = deployment.rollout.clone().unwrap_or_default();
    let name = rollout.state().as_str_name().trim_start_matches("ROLLOUT_STATE_").to_owned();
    if rollout.rollback { format!("{name} (rollback)") } else { name }
}

fn state_tone(deployment: &v1::Deployment) -> Tone {
    if deployment.deleting {
        return Tone::Waiting;
    }
    match deployment.rollout.as_ref().map(v1::Rollout::state) {
        Some(v1::RolloutState::Complete) => Tone::Good,
        Some(v1::RolloutState::Paused | v1::RolloutState::Failed) => Tone::Bad,
        Some(v1::RolloutState::InProgress | v1::RolloutState::AwaitingPromotion | v1::RolloutState::Unspecified)
        | None => Tone::Waiting,
    }
}

fn dependency_text(dependency: &v1::Dependency) -> String {
    let condition = match dependency.condition() {
        v1::DependencyCondition::Healthy => "healthy",
        v1::DependencyCondition::Completed => "completed",
        v1::DependencyCondition::Started | v1::DependencyCondition::Unspecified => "started",
    };
    let optional = if dependency.required == Some(false) { ", if it is there" } else { "" };
    format!("{} ({condition}{optional})", dependency.deployment)
}

fn policy_text(policy: &v1::UpdatePolicy) -> String {
    let order = match policy.order() {
        v1::UpdateOrder::StartFirst => "start-first",
        v1::UpdateOrder::StopFirst | v1::UpdateOrder::Unspecified => "stop-first",
    };
    let at_once = match policy.parallelism {
        Some(0) => "all at once".to_owned(),
        parallelism => format!("{} at a time", parallelism.unwrap_or(1)),
    };
    let after = match policy.on_failure() {
        v1::RolloutFailureAction::Rollback => "rolls back",
        v1::RolloutFailureAction::Continue => "goes on",
        v1::RolloutFailureAction::Pause | v1::RolloutFailureAction::Unspecified => "pauses",
    };
    let canaries = match policy.canaries {
        0 => String::new(),
        canaries => {
            let promoted = if policy.auto_promote { ", promoted by itself" } else { "" };
            format!(", {}{promoted}", counted(canaries.into(), "canary", "canaries"))
        }
    };
    format!("{order}, {at_once}{canaries}, {after} on failure")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_support::NOW;

    #[test]
    fn of_few_minutes_the_seconds_are_told() {
        for (seconds, expected) in [(-3, "0s"), (59, "59s"), (60, "1m 0s"), (580, "9m 40s"), (600, "10m"), (7200, "2h")]
        {
            let deadline = Some(prost_types::Timestamp { seconds: NOW.as_second() + seconds, nanos: 0 });
            let left = time_left(&v1::Rollout { deadline, ..Default::default() }, NOW);
            assert_eq!(left.as_deref(), Some(expected));
        }
    }

    fn deployment(deleting: bool, counts: v1::DeploymentCounts) -> v1::WatchRolloutResponse {
        let spec = Some(v1::DeploymentSpec { name: "shop_web".to_owned(), ..Default::default() });
        let rollout = Some(v1::Rollout { state: v1::RolloutState::InProgress.into(), ..Default::default() });
        let deployment =
            v1::Deployment { spec, rollout, version: 1, deleting, counts: Some(counts), ..Default::default() };
        v1::WatchRolloutResponse { deployment: Some(deployment), ..Default::default() }
    }

    #[test]
    fn what_is_being_deleted_tells_what_still_stops_and_not_that_none_of_no_tasks_is_ready() {
        let line = |message: &v1::WatchRolloutResponse| rollout_line(message, NOW, Palette::new(false)).whole();
        let counts = v1::DeploymentCounts { stopping: 1, ..Default::default() };
        assert_eq!(line(&deployment(true, counts)), "shop_web  DELETING  1 task stopping");
        let counts = v1::DeploymentCounts { ready: 1, desired: 3, ..Default::default() };
        assert_eq!(line(&deployment(false, counts)), "shop_web  version 1  IN_PROGRESS  1 of 3 ready");
    }
}
