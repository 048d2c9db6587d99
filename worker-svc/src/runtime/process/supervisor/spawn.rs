//! Starting the process itself.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;

use super::super::contract::{MARK, Reply, SpecRecord};

/// What a process finds when the worker's own environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts it as the leader of a group of its own.
pub(super) fn spawn(spec: &SpecRecord) -> Result<Child, Reply> {
    let rejected = |message: String| Reply::Failed { passing: false, message };
    let Some((program, arguments)) = spec.command.split_first() else {
        return Err(rejected("the command is empty".to_owned()));
    };
    if !spec.working_dir.is_dir() {
        // exec's own error would not say which of the two is missing.
        return Err(rejected(format!("working directory {} is not there", spec.working_dir.display())));
    }
    let inherited = |name: &str, otherwise: &str| env::var_os(name).unwrap_or_else(|| otherwise.into());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", inherited("PATH", DEFAULT_PATH))
        .env("HOME", inherited("HOME", "/"))
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.working_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(mark) = env::var_os(MARK) {
        // After the spec's own: by it what is left of the process is found.
        command.env(MARK, mark);
    }
    command.spawn().map_err(|source| match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => {
            Reply::Failed { passing: true, message: format!("cannot start `{program}` now: {source}") }
        }
        _ => rejected(format!("cannot start `{program}`: {source}")),
    })
}
