//! `davit logs -f` while what is on the way to the output goes away and comes back: each line is shown once.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use davit_proto::v1;
use davit_tests::binaries::{Service, path_of};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(60);
const WAITS: &str = "waiting to go on with the output: ";

/// A manager with a scheduler, and the directory of a worker that comes and goes.
struct Cluster {
    programs: Programs,
    data_dir: WorkerDir,
    /// For what the test and its task tell each other.
    dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let programs = Programs::start("davit-follow", &["--heartbeat-period", "3s"]).await;
        Self { programs, data_dir: WorkerDir::new(), dir: tempfile::tempdir().unwrap() }
    }

    async fn worker(&self) -> Service {
        self.programs.process_worker("node", self.data_dir.path(), &[]).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn run(&self, script: &str) {
        let task_id = self.programs.create_process("writer", script, |_| ()).await;
        self.programs.until(&task_id, v1::TaskState::Running).await;
    }

    /// `davit logs` of the task, for a test that reads it or looks at what it has written so far.
    fn logs(&self, more: &[&str], stdout: Stdio, stderr: Stdio) -> Child {
        let mut command = Command::new(path_of("davit"));
        command.arg("logs").args(more).arg("writer").env("DAVIT_MANAGER", self.programs.manager().address.to_string());
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).kill_on_drop(true).spawn().unwrap()
    }

    fn follow(&self, more: &[&str]) -> Follower {
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        let file = |path| Stdio::from(File::create(path).unwrap());
        let davit = self.logs(&[&["-f"], more].concat(), file(&stdout), file(&stderr));
        Follower { davit, stdout, stderr }
    }
}

/// `davit logs -f`.
struct Follower {
    davit: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Follower {
    fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until a hundred more lines are shown.
    async fn goes_on(&self) {
        let shown = self.stdout().lines().count();
        eventually("it goes on", LIMIT, async || match self.stdout().lines().count() {
            now if now >= shown + 100 => Ok(()),
            now => Err((now, self.stderr().lines().filter(|line| line.parse::<u64>().is_err()).collect::<String>())),
        })
        .await;
    }

    async fn waits(&self, times: usize) {
        eventually("it has noticed", LIMIT, async || match self.stderr().matches(WAITS).count() {
            told if told >= times => Ok(()),
            told => Err(told),
        })
        .await;
    }

    async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(LIMIT, self.davit.wait()).await.unwrap().unwrap()
    }
}

/// Numbers to both outputs; to the one also lines so long that they come in pieces, and several lines that are written at once.
fn writes_until(stop: &str) -> String {
    format!(
        "n=0; while [ ! -e {stop} ]; do n=$((n+1)); echo $n; echo $n >&2; if [ $((n%20)) = 0 ]; then printf '%040000d\\n' $n; \
         printf 'a\\nb\\nc\\n'; fi; sleep 0.01; done; echo the end $n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_shown_once_while_manager_and_worker_are_killed_and_started_again() {
    let mut cluster = Cluster::start().await;
    let worker = cluster.worker().await;
    cluster.run(&writes_until(cluster.path("stop").to_str().unwrap())).await;
    let mut follower = cluster.follow(&[]);
    follower.goes_on().await;
    cluster.programs = cluster.programs.with_crashed_manager().await;
    follower.goes_on().await;
    cluster.programs = cluster.programs.with_restarted_manager().await;
    follower.goes_on().await;
    worker.kill().await;
    let worker = cluster.worker().await;
    follower.goes_on().await;
    assert!(worker.terminate().await.success());
    let _worker = cluster.worker().await;
    follower.goes_on().await;
    std::fs::write(cluster.path("stop"), "").unwrap();
    assert!(follower.ended().await.success(), "{}", follower.stderr());

    let shown = follower.stdout();
    let last = shown.lines().last().and_then(|line| line.strip_prefix("the end ")).unwrap();
    let last: usize = last.parse().unwrap();
    let mut expected = Vec::new();
    for number in 1..=last {
        expected.push(number.to_string());
        if number % 20 == 0 {
            expected.extend([format!("{number:040000}"), "a".to_owned(), "b".to_owned(), "c".to_owned()]);
        }
    }
    expected.push(format!("the end {last}"));
    let differs = shown.lines().zip(&expected).find(|(shown, expected)| shown != expected);
    assert_eq!(differs, None);
    assert_eq!(shown.lines().count(), expected.len());
    let errors = follower.stderr();
    let (notes, numbers): (Vec<_>, Vec<_>) = errors.lines().partition(|line| line.starts_with(WAITS));
    assert_eq!(numbers, (1..=last).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(notes.len(), 4, "each break is told once: {notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_until_an_end_that_came_meanwhile_is_shown_and_a_tail_is_not_shown_again() {
    let mut cluster = Cluster::start().await;
    let _worker = cluster.worker().await;
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done", cluster.path("go").display());
    cluster.run(&format!("printf '1\\n2\\n3\\n4\\n'; {wait}; echo 5; echo 6; exit 7")).await;
    let mut follower = cluster.follow(&["-n", "2"]);
    eventually("the tail is shown", LIMIT, async || match follower.stdout() {
        shown if shown == "3\n4\n" => Ok(()),
        shown => Err(shown),
    })
    .await;
    cluster.programs = cluster.programs.with_crashed_manager().await;
    follower.waits(1).await;
    std::fs::write(cluster.path("go"), "").unwrap();
    assert!(follower.ended().await.success(), "{}", follower.stderr());
    assert_eq!(follower.stdout(), "3\n4\n5\n6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_on_no_node_yet_is_waited_for() {
    let cluster = Cluster::start().await;
    cluster.programs.create_process("writer", "echo at last", |_| ()).await;
    let mut follower = cluster.follow(&[]);
    eventually("it says so", LIMIT, async || match follower.stderr() {
        told if told.contains("waiting until it is on a node") => Ok(()),
        told => Err(told),
    })
    .await;
    let _worker = cluster.worker().await;
    assert!(follower.ended().await.success(), "{}", follower.stderr());
    assert_eq!(follower.stdout(), "at last\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_followed_and_breaks_off_is_an_error() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker().await;
    // Far more than is on its way at once.
    let task_id = cluster.programs.create_process("writer", "yes | head -c 8000000", |_| ()).await;
    cluster.programs.until(&task_id, v1::TaskState::Completed).await;
    let mut davit = cluster.logs(&[], Stdio::piped(), Stdio::piped());
    let (mut stdout, mut stderr) = (davit.stdout.take().unwrap(), davit.stderr.take().unwrap());
    stdout.read_exact(&mut [0; 2]).await.unwrap();
    let Cluster { programs, .. } = &cluster;
    programs.manager().signal(nix::sys::signal::Signal::SIGKILL);
    let (mut shown, mut told) = (Vec::new(), String::new());
    let rest = async { tokio::join!(stdout.read_to_end(&mut shown), stderr.read_to_string(&mut told)) };
    let (rest, complaints) = tokio::time::timeout(LIMIT, rest).await.unwrap();
    rest.and(complaints).unwrap();
    assert_eq!(davit.wait().await.unwrap().code(), Some(3), "{told}");
    assert!(shown.len() < 8_000_000 && !told.contains(WAITS), "{told}");
}
