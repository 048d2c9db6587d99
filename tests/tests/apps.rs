//! An app of a Compose file from outside, as its user has it: the command line, and real containers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

use std::process::Stdio;
use std::time::Duration;

use davit_proto::v1;
use davit_tests::binaries::Service;
use davit_tests::command_line::CommandLine;
use davit_tests::engine::{Cleared, IMAGE, docker, host_socket, import_image, try_docker};
use davit_tests::programs::Programs;
use davit_tests::wait::eventually;
use davit_tests::worker_dir::WorkerDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStderr;

const LIMIT: Duration = Duration::from_secs(60);

/// A database that counts its starts on its volume, a migration that asks it, and a web server that needs both.
const APP: &str = r#"
name: shop
services:
  db:
    image: IMAGE
    pull_policy: never
    entrypoint: [/bin/busybox, sh, -c]
    command: ["echo start >> /data/starts; exec /bin/busybox httpd -f -p 80 -h /data"]
    environment: {TUNING: "1"}
    volumes: ['data:/data']
    secrets: [password]
    stop_grace_period: 0s
    healthcheck: {test: [CMD, /bin/busybox, wget, -q, -O, /dev/null, 'http://127.0.0.1/starts'], interval: 300ms, retries: 30}
    deploy: {update_config: {monitor: 200ms}}
  migrate:
    image: IMAGE
    pull_policy: never
    entrypoint: [/bin/busybox, sh, -c]
    command: ["exec /bin/busybox wget -q -O - http://db/starts"]
    depends_on: {db: {condition: service_healthy}}
    x-davit: {job: {retries: 1}}
  web:
    image: WEB
    pull_policy: never
    entrypoint: [/bin/busybox, sh, -c]
    command: ["/bin/busybox mkdir -p /tmp/www; /bin/busybox cp /page /tmp/www/index.html; exec /bin/busybox httpd -f -p 80 -h /tmp/www"]
    configs: [page]
    stop_grace_period: 0s
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
    healthcheck: {test: [CMD, /bin/busybox, wget, -q, -O, /dev/null, 'http://127.0.0.1/'], interval: 300ms, retries: 30}
    deploy:
      update_config: {order: start-first, monitor: 200ms, failure_action: FAILURE}
volumes: {data: {name: VOLUME}}
configs: {page: {content: PAGE}}
secrets: {password: {file: ./password}}
"#;

/// A job whose indexes complete when the test lets them, and a server that waits for it.
const GATED: &str = r#"
name: shop
services:
  migrate:
    image: IMAGE
    pull_policy: never
    entrypoint: [/bin/busybox, sh, -c]
    command: ["until [ -e /gate/$$DAVIT_INDEX ]; do /bin/busybox sleep 0.1; done"]
    volumes: ['GATE:/gate']
    stop_grace_period: 0s
    deploy: {mode: replicated-job, replicas: 2}
"#;
const AFTER_IT: &str = r#"
  web:
    image: IMAGE
    pull_policy: never
    entrypoint: [/bin/busybox, sh, -c]
    command: ["exec /bin/busybox httpd -f -p 80"]
    stop_grace_period: 0s
    depends_on: {migrate: {condition: service_completed_successfully}}
    deploy: {update_config: {monitor: 200ms}}
"#;

/// A directory with the app, and a cluster of one node.
struct Site {
    programs: Programs,
    davit: CommandLine,
    cluster: String,
    _worker: Service,
    _worker_dir: WorkerDir,
    _cleared: Cleared,
    _volume: Volume,
}

/// Removed at last, when nothing mounts it any more.
struct Volume(String);

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = try_docker(&host_socket(), &["volume", "rm", "--force", &self.0]);
    }
}

impl Site {
    async fn new() -> Self {
        import_image(&host_socket());
        let cluster = format!("davit-apps-{}", std::process::id());
        let cleared = Cleared { socket: host_socket(), label: format!("dev.davit.cluster={cluster}") };
        let volume = Volume(cluster.clone());
        let programs = Programs::start(&cluster, &[]).await;
        let worker_dir = WorkerDir::new();
        let worker = programs.worker("one", worker_dir.path(), &host_socket(), &[]);
        worker.ready().await;
        let davit = CommandLine::new(programs.manager().address);
        davit.write("password", "swordfish");
        Self { programs, davit, cluster, _worker: worker, _worker_dir: worker_dir, _cleared: cleared, _volume: volume }
    }

    fn write(&self, change: impl Fn(String) -> String) {
        let app = change(APP.to_owned());
        let app = app.replace("FAILURE", "pause").replace("PAGE", "first").replace("WEB", IMAGE);
        let app = app.replace("IMAGE", IMAGE).replace("VOLUME", &self.cluster);
        self.davit.write("compose.yaml", &app);
    }

    async fn tasks(&self) -> Vec<v1::Task> {
        self.programs.tasks().list_tasks(v1::ListTasksRequest::default()).await.unwrap().into_inner().tasks
    }

    async fn task(&self, name: &str) -> v1::Task {
        let is_it = |task: &v1::Task| {
            task.spec.as_ref().unwrap().name == name && task.desired_state() == v1::DesiredState::Running
        };
        self.tasks().await.into_iter().find(is_it).unwrap()
    }

    /// What a container of a task of this name answers to a command.
    async fn exec(&self, name: &str, command: &[&str]) -> String {
        let task = self.task(name).await;
        let container = format!("davit-{}-{}", task.task_id, task.attempt);
        docker(&host_socket(), &[&["exec", &container, "/bin/busybox"][..], command].concat())
    }
}

/// Reads lines up to one that has this in it, and answers them all.
async fn told_until(lines: &mut Lines<BufReader<ChildStderr>>, part: &str) -> String {
    let mut told = String::new();
    while !told.contains(part) {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap_or_else(|_| panic!("{part}: {told}"));
        let line = line.unwrap().unwrap_or_else(|| panic!("it ends without {part}: {told}"));
        told.push_str(&line);
        told.push('\n');
    }
    told
}

fn seconds(time: Option<prost_types::Timestamp>) -> f64 {
    let time = time.unwrap();
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_begins_in_order_is_updated_in_part_and_survives_a_bad_image() {
    let site = Site::new().await;
    site.write(|app| app);
    assert_eq!(site.davit.run(&["plan"]).await.0, 2);
    site.davit.done(&["up"]).await;
    assert_eq!(site.davit.run(&["plan"]).await.0, 0);
    let apps = site.davit.done(&["apps"]).await;
    assert!(apps.contains("shop") && apps.contains("2/2") && apps.contains("COMPLETE"), "{apps}");
    // Each began when what it waits for had come: the migration reached the database by its name.
    let (db, migrate, web) = (site.task("shop_db").await, site.task("shop_migrate").await, site.task("shop_web").await);
    let ended = migrate.status.clone().unwrap();
    assert_eq!((ended.state(), migrate.attempt), (v1::TaskState::Completed, 1));
    let started = |task: &v1::Task| seconds(task.status.as_ref().unwrap().start_time);
    assert!(started(&db) < seconds(migrate.create_time) && seconds(ended.finish_time) < seconds(web.create_time));
    assert_eq!(site.davit.done(&["job", "logs", "shop_migrate"]).await, "start\n");
    assert!(site.davit.done(&["logs", "--app", "shop"]).await.contains("shop_migrate | start\n"));
    assert_eq!(site.exec("shop_web", &["wget", "-q", "-O", "-", "http://db/starts"]).await, "start");
    assert_eq!(site.exec("shop_web", &["cat", "/tmp/www/index.html"]).await, "first");
    assert_eq!(site.exec("shop_db", &["cat", "/run/secrets/password"]).await, "swordfish");

    // Another config: the web server is rolled, and nothing else.
    site.write(|app| app.replace("PAGE", "second"));
    site.davit.done(&["up"]).await;
    assert_eq!(site.exec("shop_web", &["cat", "/tmp/www/index.html"]).await, "second");
    assert_eq!(site.task("shop_db").await.task_id, db.task_id);
    // Another environment: the database is rolled, and has its data again.
    let tuned = |app: String| app.replace("PAGE", "second").replace("TUNING: \"1\"", "TUNING: \"2\"");
    site.write(tuned);
    site.davit.done(&["up"]).await;
    assert_ne!(site.task("shop_db").await.task_id, db.task_id);
    assert_eq!(site.exec("shop_db", &["cat", "/data/starts"]).await, "start\nstart");

    // An image that is not there: what serves goes on, and it pauses, or goes back.
    let web = site.task("shop_web").await.task_id;
    site.write(|app| tuned(app).replace("WEB", "davit.invalid/none:1"));
    let (code, told) = site.davit.run(&["up"]).await;
    assert!(code == 1 && told.contains("PAUSED") && told.contains("davit.invalid/none:1"), "{code}: {told}");
    let ready = |task: &v1::Task| task.status.as_ref().unwrap().ready;
    let serving = site.tasks().await.into_iter().find(|task| task.task_id == web).unwrap();
    assert!(ready(&serving) && serving.desired_state() == v1::DesiredState::Running);
    site.write(|app| tuned(app).replace("WEB", "davit.invalid/none:2").replace("FAILURE", "rollback"));
    let (code, told) = site.davit.run(&["up"]).await;
    assert!(code == 1 && told.contains("COMPLETE (rollback)"), "{code}: {told}");
    assert_eq!(site.exec("shop_web", &["cat", "/tmp/www/index.html"]).await, "second");

    // All goes, what ended before as well: replaced tasks, ones whose image is not there, the migration, and the network.
    site.davit.done(&["down"]).await;
    let filter = format!("label=dev.davit.cluster={}", site.cluster);
    eventually("nothing of it is left at the engine", LIMIT, async || {
        let containers = docker(&host_socket(), &["ps", "--all", "--format", "{{.Names}}", "--filter", &filter]);
        let networks = docker(&host_socket(), &["network", "ls", "--format", "{{.Name}}", "--filter", &filter]);
        if containers.is_empty() && networks.is_empty() { Ok(()) } else { Err(format!("{containers} {networks}")) }
    })
    .await;
    assert_eq!(site.tasks().await, []);
    assert!(!site.davit.done(&["apps"]).await.contains("shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn up_tells_how_far_the_job_is_that_a_service_waits_for() {
    let site = Site::new().await;
    let gate = site.davit.dir().join("gate");
    std::fs::create_dir(&gate).unwrap();
    let open = |index: u32| std::fs::write(gate.join(index.to_string()), "").unwrap();
    site.write(|_| GATED.replace("GATE", gate.to_str().unwrap()));
    // A job alone is followed until it has begun: it may take hours.
    let told = site.davit.done(&["up"]).await;
    assert!(told.contains("shop_migrate  run 1  RUNNING  0 of 2 completed, 2 active\n"), "{told}");
    assert!(told.contains("shop_migrate goes on; `davit job logs -f shop_migrate` shows what it writes.\n"), "{told}");

    // With a service that waits for it, until that serves; also the run that an earlier time has begun.
    site.write(|_| format!("{GATED}{AFTER_IT}").replace("GATE", gate.to_str().unwrap()));
    let mut up = site.davit.command(&["up"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    told_until(&mut lines, "shop_migrate  run 1  RUNNING  0 of 2 completed, 2 active").await;
    open(1);
    told_until(&mut lines, "shop_migrate  run 1  RUNNING  1 of 2 completed, 1 active").await;
    open(0);
    let mut told = String::new();
    while let Some(line) = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("it ends").unwrap() {
        told.push_str(&format!("{line}\n"));
    }
    assert!(told.contains("shop_migrate  run 1  COMPLETED  2 of 2 completed\n"), "{told}");
    assert!(told.contains("shop_web  version 1  COMPLETE  1 of 1 ready\n"), "{told}");
    assert!(!told.contains("goes on;"), "{told}");
    assert!(up.wait().await.unwrap().success());
    site.davit.done(&["down"]).await;
}
