//! Workers as programs that are killed and started again, while the tasks that they run go on.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use davit_proto::v1;
use davit_tests::binaries::Service;
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(30);

/// A manager with a scheduler, and the directory of a worker that comes and goes.
struct Cluster {
    programs: Programs,
    data_dir: WorkerDir,
}

impl Cluster {
    async fn start() -> Self {
        // A worker that is killed has time to come back before its node counts as down.
        let programs = Programs::start("davit-restarts", &["--heartbeat-period", "3s"]).await;
        Self { programs, data_dir: WorkerDir::new() }
    }

    async fn worker(&self, more: &[&str]) -> Service {
        self.programs.process_worker("node", self.data_dir.path(), more).await
    }

    async fn create(&self, name: &str, script: &str) -> String {
        self.programs.create_process(name, script, |_| ()).await
    }

    async fn until(&self, task_id: &str, state: v1::TaskState) -> v1::TaskStatus {
        self.programs.until(task_id, state).await
    }
}

/// The number that a script wrote into a file.
async fn number_in(path: &Path) -> i32 {
    eventually("the script has told its number", LIMIT, async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.strip_suffix('\n').and_then(|number| number.parse().ok()).ok_or(text.clone())
    })
    .await
}

fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_run_on_when_their_worker_is_killed_and_ends_meanwhile_are_told_as_they_were() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let worker = cluster.worker(&[]).await;
    let stays = cluster.create("stays", &format!("echo $$ > {}; exec sleep 600", path("stays").display())).await;
    let wait_for = |file: &str| format!("while [ ! -e {} ]; do sleep 0.02; done", path(file).display());
    let script = format!("echo $$ > {}; {}; exit 7", path("ends").display(), wait_for("go"));
    let ends = cluster.create("ends", &script).await;
    let before = cluster.until(&stays, v1::TaskState::Running).await;
    cluster.until(&ends, v1::TaskState::Running).await;
    let (stays_pid, ends_pid) = (number_in(&path("stays")).await, number_in(&path("ends")).await);

    worker.kill().await;
    std::fs::write(path("go"), "").unwrap();
    eventually("it ends without a worker", LIMIT, async || if runs(ends_pid) { Err("it runs") } else { Ok(()) }).await;
    let ended_by = std::fs::metadata(path("go")).unwrap().modified().unwrap();
    assert!(runs(stays_pid));

    let worker = cluster.worker(&[]).await;
    let ended = cluster.until(&ends, v1::TaskState::Failed).await;
    assert_eq!(ended.exit_code, Some(7), "{ended:?}");
    let finished = std::time::SystemTime::try_from(ended.finish_time.unwrap()).unwrap();
    let apart = finished.duration_since(ended_by).unwrap();
    assert!(apart < Duration::from_secs(2), "it is the time of the end, not of the report: {apart:?}");

    // Stopped in good order it leaves them too, and the next one says how it found them.
    assert!(worker.terminate().await.success());
    assert!(runs(stays_pid));
    let worker = cluster.worker(&[]).await;
    let after = cluster.until(&stays, v1::TaskState::Running).await;
    assert_eq!(after.start_time, before.start_time);
    assert_eq!(number_in(&path("stays")).await, stays_pid);
    assert!(runs(stays_pid));

    let request = v1::StopTaskRequest { task_id: stays.clone() };
    cluster.programs.tasks().stop_task(request).await.unwrap();
    cluster.until(&stays, v1::TaskState::Stopped).await;
    assert!(!runs(stays_pid));
    assert!(worker.terminate().await.success());
}

/// What is kept of an attempt's process.
fn record(data_dir: &Path, task_id: &str, name: &str) -> PathBuf {
    let attempt = format!("davit-{task_id}-1");
    let mut unseen = vec![data_dir.to_owned()];
    while let Some(dir) = unseen.pop() {
        if dir.ends_with(&attempt) {
            return dir.join(name);
        }
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        unseen.extend(entries.filter(|path| path.is_dir() && !path.is_symlink()));
    }
    panic!("nothing is kept of {attempt}");
}

/// One of the fields in what the kernel tells of a process, counted as its documentation does.
fn stat_field(pid: u32, number: usize) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(number - 3).unwrap().to_owned()
}

/// Puts another value into a field of a record.
fn replace_field(record: &str, name: &str, value: &str) -> String {
    let (before, rest) = record.split_once(&format!("\"{name}\":")).unwrap();
    let end = if rest.starts_with('{') { rest.find('}').unwrap() + 1 } else { rest.find(',').unwrap() };
    format!("{before}\"{name}\":{value}{}", &rest[end..])
}

/// The numbers of processes are given anew after a boot, and what is on the disk names those of the boot before.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_machine_no_process_is_taken_for_a_task_and_ends_are_told_as_far_as_they_are_known() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let worker = cluster.worker(&[]).await;
    let runs_on = cluster.create("runs-on", &format!("echo $$ > {}; exec sleep 600", path("runs-on").display())).await;
    let ends = format!("while [ ! -e {} ]; do sleep 0.02; done; exit 7", path("go").display());
    let ends = cluster.create("ends", &ends).await;
    let before = cluster.until(&runs_on, v1::TaskState::Running).await;
    cluster.until(&ends, v1::TaskState::Running).await;
    let pid = number_in(&path("runs-on")).await;

    // One ends, and that is noted. Then the power fails.
    worker.kill().await;
    std::fs::write(path("go"), "").unwrap();
    let end = record(cluster.data_dir.path(), &ends, "exit.json");
    eventually("its end is noted", LIMIT, async || if end.exists() { Ok(()) } else { Err(()) }).await;
    let supervisor = stat_field(pid.cast_unsigned(), 4).parse().unwrap();
    for pid in [supervisor, pid] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        eventually("it is gone", LIMIT, async || if runs(pid) { Err(()) } else { Ok(()) }).await;
    }
    // After it others have the numbers, and started as long after the boot.
    let mut strangers = [(); 2].map(|()| Command::new("sleep").arg("600").spawn().unwrap());
    let start = record(cluster.data_dir.path(), &runs_on, "start.json");
    let mut text = std::fs::read_to_string(&start).unwrap();
    for (name, stranger) in ["supervisor", "leader"].iter().zip(&strangers) {
        let (pid, started) = (stranger.id(), stat_field(stranger.id(), 22));
        text = replace_field(&text, name, &format!("{{\"pid\":{pid},\"start_time\":{started}}}"));
    }
    std::fs::write(&start, replace_field(&text, "boot_id", "\"00000000-0000-4000-8000-000000000000\"")).unwrap();

    let worker = cluster.worker(&[]).await;
    let ended = cluster.until(&runs_on, v1::TaskState::Failed).await;
    assert!(ended.reason.contains("the machine was restarted while it ran"), "{ended:?}");
    assert_eq!((ended.exit_code, ended.start_time), (None, before.start_time), "nobody knows how");
    let ended = cluster.until(&ends, v1::TaskState::Failed).await;
    assert_eq!(ended.exit_code, Some(7), "{ended:?}");
    assert!(worker.terminate().await.success());
    for stranger in &mut strangers {
        assert_eq!(stranger.try_wait().unwrap(), None, "it is no task");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_takes_its_tasks_along_leaves_no_process() {
    let cluster = Cluster::start().await;
    let dir = tempfile::tempdir().unwrap();
    let worker = cluster.worker(&["--stop-tasks-on-shutdown"]).await;
    let pid_file = dir.path().join("pid");
    let task = cluster.create("sleeper", &format!("echo $$ > {}; exec sleep 600", pid_file.display())).await;
    cluster.until(&task, v1::TaskState::Running).await;
    let pid = number_in(&pid_file).await;
    assert!(worker.terminate().await.success());
    assert!(!runs(pid));
}
