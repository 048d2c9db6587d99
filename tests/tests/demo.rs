//! The README's first command: `davit demo` shows everything, cleans up and exits 0, as processes and as containers.

use std::process::{Command, Stdio};
use std::time::Duration;

use davit_tests::binaries::path_of;
use davit_tests::wait::eventually;

/// Longer than the demo takes on a slow machine, but not for ever.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_everything_cleans_up_and_exits_0() {
    for (arguments, kind) in [
        (vec!["demo", "--process"], "Tasks are plain processes"),
        (vec!["demo", "--image", "davit-test/busybox:latest"], "Tasks are containers"),
    ] {
        let mut davit = tokio::process::Command::new(path_of("davit"));
        davit.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, davit.output()).await.unwrap().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains(kind), "{told}");
        for part in
            ["COMPLETED", "FAILED: exited with code 3", "attempt 3", "fits 0 of 3", "hello from a task of davit"]
        {
            assert!(told.contains(part), "{part} is missing:\n{told}");
        }
    }
    eventually("no container is left", Duration::from_secs(10), async || {
        let mut docker = Command::new("docker");
        docker.args(["ps", "-a", "-q", "--filter", "label=dev.davit.cluster=demo"]);
        let left = String::from_utf8(docker.output().unwrap().stdout).unwrap();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
