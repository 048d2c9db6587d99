//! The command line as a user has it: in a directory of their own, beside a manager.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::binaries::path_of;

/// Longer than a command takes that comes to its end, but not for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `davit` in a directory of its own.
#[derive(Debug)]
pub struct CommandLine {
    manager: SocketAddr,
    dir: TempDir,
}

impl CommandLine {
    /// For the manager at this address.
    #[must_use]
    pub fn new(manager: SocketAddr) -> Self {
        Self { manager, dir: tempfile::tempdir().expect("a directory") }
    }

    /// Where it runs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file where it runs.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir().join(name), text).expect("a file");
    }

    /// The command, for a test that reads what it writes while it runs. Killed when dropped.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(path_of("davit"));
        command.args(["--manager", &self.manager.to_string()]).args(arguments);
        command.current_dir(self.dir()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it; answers its exit code and all that it wrote, standard error last.
    ///
    /// # Panics
    /// When it does not end in time, or is ended by a signal.
    pub async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = tokio::time::timeout(LIMIT, self.command(arguments).output()).await;
        let output = output.unwrap_or_else(|_| panic!("davit {arguments:?} did not end")).expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it ended by itself"), String::from_utf8(text).expect("text"))
    }

    /// Runs what is to succeed; answers all that it wrote.
    ///
    /// # Panics
    /// When it fails.
    pub async fn done(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments).await;
        assert_eq!(code, 0, "davit {arguments:?}: {text}");
        text
    }
}
