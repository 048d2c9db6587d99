//! `davit logs` of a deployment from outside: while it is rolled, of what was replaced, and until it is gone.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use davit_tests::binaries::Service;
use davit_tests::command_line::CommandLine;
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tokio::process::Child;

const LIMIT: Duration = Duration::from_secs(60);

/// A cluster of one node that runs processes.
struct Site {
    davit: CommandLine,
    _programs: Programs,
    _worker: Service,
    _worker_dir: WorkerDir,
}

impl Site {
    async fn new(cluster: &str) -> Self {
        let programs = Programs::start(cluster, &[]).await;
        let worker_dir = WorkerDir::new();
        let worker = programs.process_worker("node", worker_dir.path(), &[]).await;
        let davit = CommandLine::new(programs.manager().address);
        Self { davit, _programs: programs, _worker: worker, _worker_dir: worker_dir }
    }

    /// A deployment whose tasks write their version, and go on.
    async fn deploy(&self, name: &str, replicas: &str) {
        let options = ["--name", name, "--replicas", replicas, "--env", "VERSION=one"];
        let policy = ["--update-order", "start-first", "--update-monitor", "200ms"];
        let words = ["--process", "sh", "-c", "echo version $VERSION; exec sleep 600"];
        self.davit.done(&[&["deployment", "create"][..], &options, &policy, &words].concat()).await;
    }

    /// What is shown by `davit logs`, line by line, in any order: tasks of one moment write in any.
    async fn logs(&self, more: &[&str]) -> Vec<String> {
        let shown = self.davit.done(&[&["logs"][..], more].concat()).await;
        sorted(&shown)
    }
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// `davit logs -f`.
struct Follower {
    davit: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Follower {
    fn start(site: &Site, more: &[&str]) -> Self {
        let (stdout, stderr) = (site.davit.dir().join("stdout"), site.davit.dir().join("stderr"));
        let mut command = site.davit.command(&[&["logs", "-f"], more].concat());
        let file = |path| Stdio::from(File::create(path).unwrap());
        let davit = command.stdout(file(&stdout)).stderr(file(&stderr)).spawn().unwrap();
        Self { davit, stdout, stderr }
    }

    async fn has_shown(&self, lines: &[&str]) {
        eventually("it is shown", LIMIT, async || {
            let shown = sorted(&std::fs::read_to_string(&self.stdout).unwrap());
            if shown == lines { Ok(()) } else { Err((shown, std::fs::read_to_string(&self.stderr).unwrap())) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_followed_over_an_update_until_it_is_gone() {
    let site = Site::new("davit-logs").await;
    site.deploy("web", "2").await;
    let first = ["web.1 | version one", "web.2 | version one"];
    assert_eq!(site.logs(&["web"]).await, first, "a name that several tasks have is that of their deployment");
    let mut follower = Follower::start(&site, &["web", "-n", "0"]);
    // A tail is of what was there already.
    follower.has_shown(&[]).await;
    site.davit.done(&["deployment", "update", "web", "--env", "VERSION=two"]).await;
    let second = ["web.1 | version two", "web.2 | version two"];
    follower.has_shown(&second).await;

    // Those that were replaced too, and before the others.
    let shown = site.davit.done(&["logs", "--deployment", "web"]).await;
    let (old, new): (Vec<_>, Vec<_>) = shown.lines().enumerate().partition(|(_, line)| line.ends_with("one"));
    assert_eq!(sorted(&shown), [first[0], second[0], first[1], second[1]]);
    assert!(old.iter().map(|(at, _)| at).max() < new.iter().map(|(at, _)| at).min(), "{shown}");
    let listed = site.davit.done(&["ps", "--all", "--deployment", "web"]).await;
    let table = listed.replace("TASK ID", "ID");
    let places: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().skip(2).take(3).collect()).collect();
    for expected in [
        ["SLOT", "VERSION", "STATE"],
        ["1", "1", "STOPPED"],
        ["2", "1", "STOPPED"],
        ["1", "2", "RUNNING"],
        ["2", "2", "RUNNING"],
    ] {
        assert!(places.iter().any(|place| place == &expected), "{expected:?}: {listed}");
    }

    site.davit.done(&["deployment", "rm", "web"]).await;
    let ended = tokio::time::timeout(LIMIT, follower.davit.wait()).await.unwrap().unwrap();
    assert!(ended.success());
    follower.has_shown(&second).await;
    assert_eq!(std::fs::read_to_string(&follower.stderr).unwrap(), "deployment `web` is gone\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_update_a_name_stands_for_the_task_that_runs() {
    let site = Site::new("davit-names").await;
    site.deploy("web", "1").await;
    site.davit.done(&["deployment", "update", "web", "--env", "VERSION=two"]).await;
    let all = site.davit.done(&["ps", "--all", "--quiet", "--name", "web"]).await;
    let (old, new) = all.trim_end().split_once('\n').unwrap();
    assert_eq!(site.logs(&["web"]).await, ["version two"]);
    assert_eq!(site.logs(&["web.1"]).await, ["version two"]);
    assert_eq!(site.logs(&[old]).await, ["version one"]);
    assert!(site.davit.done(&["inspect", "web"]).await.contains(new));
    let (code, explained) = site.davit.run(&["explain", "web"]).await;
    assert_eq!(code, 0, "{explained}");
    assert_eq!(site.davit.done(&["restart", "web"]).await.lines().next(), Some(new));
    assert_eq!(site.logs(&["web", "--attempt", "1"]).await, ["version two"]);
    let restarted = site.logs(&["--deployment", "web"]).await;
    assert_eq!(restarted, ["web.1 | version one", "web.1 | version two", "web.1, attempt 2 | version two"]);

    // Where none runs any more the newest is looked at, and none is changed.
    site.davit.done(&["deployment", "scale", "web", "0"]).await;
    eventually("it has ended", LIMIT, async || {
        let left = site.davit.done(&["ps", "--quiet", "--name", "web"]).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    assert!(site.davit.done(&["inspect", "web"]).await.contains(new));
    let (code, refused) = site.davit.run(&["rm", "web"]).await;
    assert!(code == 1 && refused.contains("`web` may be 2 tasks"), "{refused}");

    let none = site.davit.run(&["logs", "other"]).await;
    assert!(none.0 == 1 && none.1.contains("there is no task or deployment"), "{}", none.1);
    let job = ["job", "run", "--name", "sums", "--completions", "2", "--process", "true"];
    site.davit.done(&job).await;
    let (code, told) = site.davit.run(&["logs", "sums"]).await;
    assert!(code == 1 && told.contains("`davit job logs sums`"), "{told}");
}
