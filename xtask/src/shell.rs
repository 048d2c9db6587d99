//! Running other programs: shown before they run, checked after.

use std::{
    env, fmt,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{failure::Failure, workspace};

/// A command at the root of the workspace, without standard input.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// The cargo that runs this recipe.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
}

/// Shows a command before it runs.
pub(crate) fn show(command: &Command) {
    println!("$ {}", Shown(command));
}

/// Shows the command, runs it with its output on ours, and takes any exit but 0 as a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    show(command);
    let status = command.status().map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` ended with {status}", Shown(command)), "its output is above"))
}

/// Runs the command unseen and gives what it printed, or `None` when it failed or could not start.
pub(crate) fn capture(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether the command runs and exits 0, unseen.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The first executable file of this name on the PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| is_executable(path))
}

/// Whether this is a file that may be run.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The failure of a command that could not even start.
pub(crate) fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy().into_owned();
    Failure::new(format!("`{program}` did not start: {error}"), format!("install {program}, or put it on the PATH"))
}

struct Shown<'a>(&'a Command);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Path::new(self.0.get_program());
        // The full path of a toolchain's cargo is noise.
        write!(formatter, "{}", program.file_name().unwrap_or(program.as_os_str()).to_string_lossy())?;
        self.0.get_args().try_for_each(|argument| write!(formatter, " {}", argument.to_string_lossy()))
    }
}
