//! Deployments of real containers from outside: crash loops, and a container on each node.

#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::time::Duration;

use davit_tests::binaries::Service;
use davit_tests::command_line::CommandLine;
use davit_tests::engine::{Cleared, IMAGE, docker, host_socket, import_image};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A cluster whose nodes share the machine's engine.
struct Site {
    davit: CommandLine,
    programs: Programs,
    label: String,
    workers: Vec<(Service, WorkerDir)>,
    _cleared: Cleared,
}

impl Site {
    async fn new(cluster: &str) -> Self {
        import_image(&host_socket());
        let cluster = format!("{cluster}-{}", std::process::id());
        let label = format!("dev.davit.cluster={cluster}");
        let cleared = Cleared { socket: host_socket(), label: label.clone() };
        let programs = Programs::start(&cluster, &[]).await;
        let davit = CommandLine::new(programs.manager().address);
        Self { davit, programs, label, workers: Vec::new(), _cleared: cleared }
    }

    async fn join(&mut self, name: &str) {
        let dir = WorkerDir::new();
        let worker = self.programs.worker(name, dir.path(), &host_socket(), &[]);
        worker.ready().await;
        self.workers.push((worker, dir));
    }

    /// Creates a deployment of the test's image whose tasks run a script of the shell.
    async fn create(&self, name: &str, more: &[&str], script: &str) {
        let options = ["deployment", "create", "--detach", "--name", name, "--pull", "never", "--stop-grace", "0s"];
        let words = [IMAGE, "/bin/busybox", "sh", "-c", script];
        self.davit.done(&[&options[..], more, &words].concat()).await;
    }

    /// Waits until a listing tells something of a deployment, on its line.
    async fn tells(&self, name: &str, expected: &str) {
        eventually("it is told", LIMIT, async || {
            let listed = self.davit.done(&["deployment", "ls"]).await;
            let line = listed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            if line.contains(expected) { Ok(()) } else { Err(listed) }
        })
        .await;
    }

    /// Waits until each of these nodes runs one container, and no other runs any, as the engine knows it.
    async fn runs_on(&self, names: &[&str]) {
        let mut expected = Vec::new();
        for name in names {
            expected.push(self.programs.node(name).await.expect("the node").node_id);
        }
        expected.sort();
        let filter = format!("label={}", self.label);
        eventually("its containers run where they are to", LIMIT, async || {
            let format = "{{.Label \"dev.davit.node\"}}";
            let listed = docker(&host_socket(), &["ps", "--filter", &filter, "--format", format]);
            let mut running: Vec<String> = listed.lines().map(str::to_owned).collect();
            running.sort();
            if running == expected { Ok(()) } else { Err(running) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_told_with_its_exit_code_and_with_the_lack_of_memory() {
    let mut site = Site::new("davit-crashes").await;
    site.join("one").await;
    site.create("code", &["--replicas", "2"], "exit 7").await;
    let greedy = "exec /bin/busybox dd if=/dev/zero of=/dev/null bs=200M";
    site.create("greedy", &["--memory", "16m"], greedy).await;
    site.tells("code", "2 of 2 slots crash: exit 7 on one").await;
    site.tells("greedy", "1 of 1 slot crashes: exit 137 out of memory on one").await;
    site.davit.done(&["deployment", "rm", "code", "greedy"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_deployment_comes_to_a_node_that_joins_and_leaves_one_that_is_drained() {
    let mut site = Site::new("davit-global").await;
    site.join("one").await;
    site.create("agent", &["--global", "--update-monitor", "200ms"], "exec /bin/busybox sleep 600").await;
    site.tells("agent", "COMPLETE").await;
    site.runs_on(&["one"]).await;
    site.join("two").await;
    site.runs_on(&["one", "two"]).await;
    site.davit.done(&["node", "drain", "one"]).await;
    site.runs_on(&["two"]).await;
    site.davit.done(&["node", "uncordon", "one"]).await;
    site.runs_on(&["one", "two"]).await;
    site.davit.done(&["deployment", "rm", "agent"]).await;
    site.runs_on(&[]).await;
}
