//! From the command line to a task's spec. What the manager checks is not checked here a second time.

mod args;
mod change;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod health;
mod placement;
mod settings;

use std::collections::BTreeMap;

use davit_proto::v1;

pub use self::args::{Pull, SpecArgs};
pub use self::change::ChangeArgs;
pub(super) use self::change::remove_keys;
pub use self::health::HealthArgs;
pub use self::placement::PlacementArgs;
pub use self::settings::SettingsArgs;
use crate::error::Error;

const FALLBACK_NAME: &str = "task";
const MAX_NAME_CHARS: usize = 63;

/// The spec that the arguments describe, of the image and the command's words, or of a process only the command's. `here`
/// tells variables of this process.
pub(super) fn task_spec(
    args: SpecArgs,
    placement: PlacementArgs,
    words: Vec<String>,
    here: impl Fn(&str) -> Option<String>,
) -> Result<v1::TaskSpec, Error> {
    let name = default_name(words.first().map_or("", String::as_str));
    let mut words = words.into_iter();
    let runtime = if args.process {
        v1::task_spec::Runtime::Process(v1::ProcessSpec { command: words.collect(), ..Default::default() })
    } else {
        v1::task_spec::Runtime::Container(v1::ContainerSpec {
            image: words.next().unwrap_or_default(),
            command: words.collect(),
            pull_policy: v1::PullPolicy::Missing.into(),
            ..Default::default()
        })
    };
    let never = v1::RestartPolicy { mode: v1::RestartMode::Never.into(), ..Default::default() };
    let bare = v1::TaskSpec { name, runtime: Some(runtime), restart_policy: Some(never), ..Default::default() };
    with_options(bare, args, placement, here)
}

/// The same for the tasks of a deployment or a job: what follows their ends is said there, unless it is said here.
pub(super) fn task_with_its_own_restarts(
    args: SpecArgs,
    placement: PlacementArgs,
    words: Vec<String>,
    here: impl Fn(&str) -> Option<String>,
) -> Result<v1::TaskSpec, Error> {
    let restart = args.restart;
    Ok(v1::TaskSpec { restart_policy: restart, ..task_spec(args, placement, words, here)? })
}

/// A spec with what is given instead of what it has; labels and variables are added to those it has.
pub(super) fn with_options(
    mut spec: v1::TaskSpec,
    args: SpecArgs,
    placement: PlacementArgs,
    here: impl Fn(&str) -> Option<String>,
) -> Result<v1::TaskSpec, Error> {
    let env = environment(&args.env, here)?;
    let is_process = matches!(spec.runtime, Some(v1::task_spec::Runtime::Process(_)));
    if let Some(option) = args.only_of_containers().filter(|_| is_process) {
        return Err(Error::usage(format!("{option} is for containers, but `{}` is a plain process", spec.name)));
    }
    replace(&mut spec.name, args.name);
    spec.labels.extend(args.label);
    match &mut spec.runtime {
        Some(v1::task_spec::Runtime::Container(container)) => {
            container.env.extend(env);
            replace(&mut container.working_dir, args.workdir);
            replace(&mut container.user, args.user);
            replace(&mut container.entrypoint, args.entrypoint.map(|program| vec![program]));
            replace(&mut container.pull_policy, args.pull.map(|pull| pull_policy(pull).into()));
            replace_all(&mut container.mounts, args.mount);
            replace_all(&mut container.ports, args.publish);
            replace_files(&mut container.files, args.config, false);
            replace_files(&mut container.files, args.secret, true);
            args.settings.over(container);
        }
        Some(v1::task_spec::Runtime::Process(process)) => {
            process.env.extend(env);
            replace(&mut process.working_dir, args.workdir);
        }
        None => {}
    }
    set_resources(&mut spec, args.cpus, args.memory, is_process);
    replace_all(&mut spec.constraints, placement.constraint.clone());
    replace(&mut spec.restart_policy, args.restart.map(Some));
    replace(&mut spec.on_node_loss, args.on_node_loss.map(Some));
    if args.stop_signal.is_some() || args.stop_grace.is_some() {
        let policy = spec.stop_policy.get_or_insert_default();
        replace(&mut policy.signal, args.stop_signal);
        replace(&mut policy.grace, args.stop_grace.map(Some));
    }
    spec.health_check = args.health.over(spec.health_check)?;
    spec.placement = placement.over(spec.placement);
    Ok(spec)
}

fn replace<T>(current: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *current = given;
    }
}

/// Of a list all or nothing is replaced.
fn replace_all<T>(current: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *current = given;
    }
}

/// Of configs all or nothing is replaced, and of secrets.
fn replace_files(current: &mut Vec<v1::FileGrant>, given: Vec<v1::FileGrant>, secret: bool) {
    if !given.is_empty() {
        current.retain(|grant| grant.secret != secret);
        current.extend(given);
    }
}

/// Reads `NAME[:PATH]` of a config.
fn config(text: &str) -> Result<v1::FileGrant, String> {
    match text.split_once(':').unwrap_or((text, "")) {
        ("", _) => Err("write it as NAME or NAME:PATH".to_owned()),
        (name, target) => Ok(v1::FileGrant { name: name.to_owned(), target: target.to_owned(), ..Default::default() }),
    }
}

/// Reads `NAME[:PATH]` of a secret.
fn secret(text: &str) -> Result<v1::FileGrant, String> {
    Ok(v1::FileGrant { secret: true, ..config(text)? })
}

/// What is given is set aside and enforced. Nothing is enforced on plain processes.
fn set_resources(spec: &mut v1::TaskSpec, cpus: Option<u64>, memory: Option<u64>, is_process: bool) {
    if cpus.is_none() && memory.is_none() {
        return;
    }
    let set = |amounts: &mut v1::Resources| {
        replace(&mut amounts.cpu_millis, cpus);
        replace(&mut amounts.memory_bytes, memory);
    };
    let resources = spec.resources.get_or_insert_default();
    set(resources.reservation.get_or_insert_default());
    if !is_process {
        set(resources.limit.get_or_insert_default());
    }
}

fn environment(pairs: &[String], here: impl Fn(&str) -> Option<String>) -> Result<BTreeMap<String, String>, Error> {
    let mut env = BTreeMap::new();
    for pair in pairs {
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (pair.as_str(), here(pair)),
        };
        let value = value.ok_or_else(|| {
            Error::usage(format!("--env {key}: there is no such variable here; write --env {key}=VALUE to set one"))
        })?;
        env.insert(key.to_owned(), value);
    }
    Ok(env)
}

/// `ghcr.io/org/web:1.2` becomes `web`, `/bin/sleep` becomes `sleep`.
fn default_name(first_word: &str) -> String {
    let image = first_word.split_once('@').map_or(first_word, |(image, _)| image);
    let last = image.rsplit('/').next().unwrap_or_default();
    let bare = last.split_once(':').map_or(last, |(bare, _)| bare);
    let allowed = bare.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c));
    let name: String = allowed.skip_while(|c| !c.is_ascii_alphanumeric()).take(MAX_NAME_CHARS).collect();
    if name.is_empty() { FALLBACK_NAME.to_owned() } else { name }
}

fn pull_policy(pull: Pull) -> v1::PullPolicy {
    match pull {
        Pull::Missing => v1::PullPolicy::Missing,
        Pull::Always => v1::PullPolicy::Always,
        Pull::Never => v1::PullPolicy::Never,
    }
}

/// Reads `[HOST:]CONTAINER[/tcp|/udp]`.
fn port(text: &str) -> Result<v1::Port, String> {
    let wrong = || "write it as [HOST:]CONTAINER[/udp] with ports from 1 to 65535, such as 8080:80".to_owned();
    let number = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(u32::from(port)),
        _ => Err(wrong()),
    };
    let (ports, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), v1::PortProtocol::Tcp),
        Some((ports, "udp")) => (ports, v1::PortProtocol::Udp),
        Some(_) => return Err(wrong()),
    };
    let (host_port, container_port) = match ports.split_once(':') {
        Some((host, container)) => (number(host)?, number(container)?),
        None => (0, number(ports)?),
    };
    Ok(v1::Port { container_port, protocol: protocol.into(), host_port })
}

/// Reads `SRC:DST[:ro]`.
fn mount(text: &str) -> Result<v1::Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => return Err("write it as SRC:DST or SRC:DST:ro".to_owned()),
    };
    if source.starts_with('.') || source.starts_with('~') {
        return Err(format!("`{source}` is relative, but the node may be another machine; give an absolute path"));
    }
    if source.is_empty() || !target.starts_with('/') {
        return Err("it needs a source, and an absolute path inside the container".to_owned());
    }
    let source = if source.starts_with('/') {
        v1::mount::Source::BindPath(source.to_owned())
    } else {
        v1::mount::Source::VolumeName(source.to_owned())
    };
    Ok(v1::Mount { source: Some(source), target: target.to_owned(), read_only })
}

/// Reads `never`, `on-failure`, `on-failure:MAX` or `always`.
fn restart(text: &str) -> Result<v1::RestartPolicy, String> {
    let (mode, max_attempts) = match text.split_once(':') {
        None => (text, 0),
        Some(("on-failure", max)) => match max.parse::<u32>() {
            Ok(max) if max > 0 => ("on-failure", max),
            _ => return Err(format!("`{max}` is not a number of attempts from 1")),
        },
        Some(_) => return Err("only on-failure takes a number of attempts".to_owned()),
    };
    let mode = match mode {
        "never" => v1::RestartMode::Never,
        "on-failure" => v1::RestartMode::OnFailure,
        "always" => v1::RestartMode::Always,
        _ => return Err("use one of never, on-failure, on-failure:MAX, always".to_owned()),
    };
    Ok(v1::RestartPolicy { mode: mode.into(), max_attempts, ..Default::default() })
}

/// Reads `replace`, `wait:TIME` or `stop-and-replace`.
fn on_node_loss(text: &str) -> Result<v1::NodeLossPolicy, String> {
    let (action, wait) = match text.split_once(':') {
        None if text == "replace" => (v1::NodeLossAction::Replace, None),
        None if text == "stop-and-replace" => (v1::NodeLossAction::StopAndReplace, None),
        Some(("wait", time)) => (v1::NodeLossAction::Wait, Some(crate::args::duration(time)?)),
        _ => return Err("use one of replace, wait:TIME, stop-and-replace".to_owned()),
    };
    Ok(v1::NodeLossPolicy { action: action.into(), wait })
}

#[cfg(test)]
mod tests;
