//! Configs and secrets from outside: real programs, a real engine, and the command line.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::Duration;

use davit_tests::command_line::CommandLine;
use davit_tests::engine::{Cleared, IMAGE, docker, host_socket, import_image};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(40);
const FIRST: &str = "swordfish-of-the-black-box";
const SECOND: &str = "marlin-of-the-black-box";

const APP: &str = "\
name: shop
services:
  web:
    image: IMAGE
    pull_policy: never
    entrypoint: [/bin/busybox, sh, -c]
    command: ['while :; do sleep 0.1; done']
    stop_grace_period: 0s
    secrets: [{source: db, uid: '1000', mode: 0400}]
    configs: [web.conf]
    deploy: {update_config: {monitor: 100ms}}
secrets: {db: {file: ./db.secret}}
configs: {web.conf: {content: 'listen 80'}}
";

/// A directory with an app, and a cluster that has it.
struct Site {
    programs: Programs,
    davit: CommandLine,
    logs: TempDir,
    cluster: String,
    _cleared: Cleared,
}

impl Site {
    async fn new() -> Self {
        import_image(&host_socket());
        let logs = TempDir::new().unwrap();
        let cluster = format!("test-configs-{}", std::process::id());
        let label = format!("dev.davit.cluster={cluster}");
        let cleared = Cleared { socket: host_socket(), label };
        let log = logs.path().join("log");
        let programs = Programs::start_logging(&cluster, &["--log", "trace"], Some(&log)).await;
        let davit = CommandLine::new(programs.manager().address);
        davit.write("compose.yaml", &APP.replace("IMAGE", IMAGE));
        Self { programs, davit, logs, cluster, _cleared: cleared }
    }

    fn set_secret(&self, text: &str) {
        self.davit.write("db.secret", text);
    }

    fn containers(&self) -> Vec<String> {
        let filter = format!("label=dev.davit.cluster={}", self.cluster);
        let listed = docker(&host_socket(), &["ps", "--quiet", "--no-trunc", "--filter", &filter]);
        listed.lines().map(str::to_owned).collect()
    }

    /// What the one container of the app shows of its files, once it is another than this.
    async fn files_of_one(&self, before: &str) -> (String, String) {
        eventually("there is one container, and it is new", LIMIT, async || match self.containers().as_slice() {
            [one] if one != before => {
                let script = "stat -c '%u:%g %a' /run/secrets/db /web.conf; cat /run/secrets/db /web.conf";
                let script = ["exec", one, "/bin/busybox", "sh", "-c", script];
                Ok((one.clone(), docker(&host_socket(), &script)))
            }
            others => Err(others.to_vec()),
        })
        .await
    }

    /// All that anybody is shown.
    async fn shown(&self) -> String {
        let mut shown = String::new();
        for arguments in [
            &["ps", "--all", "-o", "json"][..],
            &["deployment", "inspect", "shop_web", "-o", "json"],
            &["deployment", "ls", "-o", "json"],
            &["secret", "ls", "-o", "json"],
            &["secret", "inspect", "shop_db", "-o", "json"],
            &["events", "--since", "0", "-o", "json"],
            &["plan", "-o", "json"],
        ] {
            let (_, text) = self.davit.run(arguments).await;
            assert!(!text.contains("error:"), "davit {arguments:?}: {text}");
            shown.push_str(&text);
        }
        for container in self.containers() {
            shown.push_str(&docker(&host_socket(), &["inspect", &container]));
        }
        shown.push_str(&format!("{:?}", self.programs.events().await));
        shown.push_str(&std::fs::read_to_string(self.logs.path().join("log")).unwrap());
        shown
    }
}

fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => holds(&path, text),
        false => std::fs::read(&path).unwrap_or_default().windows(text.len()).any(|window| window == text.as_bytes()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_reads_its_secret_rolls_with_it_and_nobody_else_sees_it() {
    let mut site = Site::new().await;
    let (worker_dir, files) = (TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap());
    let files_dir = files.path().display().to_string();
    let more = ["--files-dir", files_dir.as_str(), "--log", "trace"];
    let worker = site.programs.worker("node-1", worker_dir.path(), &host_socket(), &more);
    worker.ready().await;

    site.set_secret(FIRST);
    site.davit.done(&["up"]).await;
    let (first, text) = site.files_of_one("").await;
    assert_eq!(text, format!("1000:0 400\n0:0 444\n{FIRST}listen 80"));
    assert_eq!(site.davit.run(&["plan"]).await.0, 0, "nothing has changed");

    site.set_secret(SECOND);
    let (code, plan) = site.davit.run(&["plan"]).await;
    assert_eq!(code, 2, "{plan}");
    assert!(plan.contains("~ task.container.files[/run/secrets/db].digest: sha256:"), "{plan}");
    site.davit.done(&["up"]).await;
    let (second, text) = site.files_of_one(&first).await;
    assert_eq!(text, format!("1000:0 400\n0:0 444\n{SECOND}listen 80"));
    let versions = site.davit.done(&["deployment", "inspect", "shop_web"]).await;
    assert!(versions.contains("secret `shop_db` sha256:"), "{versions}");

    // Neither a manager nor a worker that is started anew disturbs what runs.
    site.programs = site.programs.with_crashed_manager().await;
    let worker = worker.crash().await;
    assert_eq!(site.files_of_one("").await, (second.clone(), text));

    let shown = site.shown().await;
    assert!(shown.contains("shop_db") && shown.contains("/run/secrets/db"), "what is looked for is found");
    for secret in [FIRST, SECOND] {
        assert!(!shown.contains(secret), "{secret} was shown");
        assert!(!holds(worker_dir.path(), secret), "{secret} is in the worker's store");
    }
    assert!(holds(files.path(), SECOND) && !holds(files.path(), FIRST), "what ended has nothing any more");

    // It comes from the manager again for another attempt, on the same node.
    let (code, refused) = site.davit.run(&["secret", "rm", "shop_db"]).await;
    assert!(code == 1 && refused.contains("in use: by deployment `shop_web`"), "{refused}");
    let label = "{{index .Config.Labels \"dev.davit.task\"}}";
    let task_id = docker(&host_socket(), &["inspect", "--format", label, &second]);
    site.davit.done(&["restart", &task_id]).await;
    assert!(site.files_of_one(&second).await.1.contains(SECOND));
    site.davit.done(&["down"]).await;
    eventually("nothing is left", LIMIT, async || match (site.containers().len(), holds(files.path(), SECOND)) {
        (0, false) => Ok(()),
        left => Err(left),
    })
    .await;
    worker.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_and_secrets_are_kept_from_the_command_line() {
    let site = Site::new().await;
    site.davit.write("web.conf", "listen 80");
    let first = site.davit.done(&["config", "create", "web.conf", "web.conf", "--label", "a=b"]).await;
    assert!(first.starts_with("sha256:"), "{first}");
    site.set_secret(FIRST);
    site.davit.done(&["secret", "create", "db", "db.secret"]).await;
    assert_eq!(site.davit.done(&["config", "inspect", "web.conf", "--content"]).await, "listen 80");
    assert!(site.davit.done(&["config", "ls"]).await.contains("web.conf"));
    assert!(site.davit.done(&["secret", "inspect", "db", "-o", "yaml"]).await.contains("sizeBytes"));
    let shown =
        [site.davit.done(&["secret", "ls"]).await, site.davit.done(&["secret", "inspect", "db"]).await].concat();
    assert!(!shown.contains(FIRST) && shown.contains("db"), "{shown}");
    let (code, refused) = site.davit.run(&["run", "--detach", "--secret", "other", IMAGE]).await;
    assert!(code == 1 && refused.contains("there is no secret `other`"), "{refused}");
    assert_eq!(site.davit.done(&["secret", "rm", "db"]).await, "db\n");
    assert_eq!(site.davit.run(&["secret", "inspect", "db"]).await.0, 1);
}
