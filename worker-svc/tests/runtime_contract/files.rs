//! Configs and secrets in containers of a real Docker engine.

use std::path::Path;
use std::sync::Arc;

use bollard::query_parameters::InspectContainerOptions;
use davit_core::file::{ConfigKind, ConfigName, FileContent, FileGrant};
use davit_core::spec::StopPolicy;
use worker_svc::runtime::{AttemptSpec, DockerConfig};

use crate::docker::{Docker, container, engine, shell};
use crate::harness::{check, new_key};
use crate::image;

async fn docker(dir: &Path) -> Docker {
    image::ensure().await;
    Docker { config: DockerConfig { files_dir: Some(dir.to_owned()), ..DockerConfig::default() } }
}

fn grant(kind: ConfigKind, name: &str, target: &str, uid: u32, mode: u32) -> FileGrant {
    let config = ConfigName { kind, name: name.to_owned() };
    FileGrant { config, digest: None, target: target.to_owned(), uid, gid: 7, mode }
}

/// An attempt of this script, with these files.
fn attempt(script: &str, files: &[(FileGrant, &str)]) -> AttemptSpec {
    let mut spec = shell(script);
    spec.files = files.iter().map(|(grant, _)| grant.clone()).collect();
    let files = files.iter().map(|(_, content)| FileContent::new(content.as_bytes())).collect();
    AttemptSpec { key: new_key(), spec: Arc::new(container(spec)), ports: [].into(), env: Vec::new(), files }
}

#[tokio::test]
async fn files_are_there_with_owner_and_mode_and_what_they_hold_is_nowhere_else() {
    const SECRET: &str = "swordfish-of-the-contract";
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let files_dir = dir.path().to_owned();
    check(docker(dir.path()).await, |bench| async move {
        let script = "busybox stat -c '%u:%g %a' /run/secrets/db /etc/web/web.conf; busybox cat /etc/web/web.conf; \
                      busybox sha256sum /run/secrets/db; busybox touch /run/secrets/db 2>&- || echo read-only; busybox sleep 600";
        let secret = grant(ConfigKind::Secret, "db", "/run/secrets/db", 1000, 0o400);
        let config = grant(ConfigKind::Config, "web.conf", "/etc/web/web.conf", 0, 0o444);
        let attempt = attempt(script, &[(secret, SECRET), (config, "of the web\n")]);
        // Creating what exists succeeds.
        for _ in 0..2 {
            bench.runtime.create(&attempt).await.unwrap();
        }
        bench.runtime.start(attempt.key).await.unwrap();
        bench.until_printed(attempt.key, "read-only").await;
        let digest = attempt.files[0].digest().to_string().replace("sha256:", "");
        let expected = format!("1000:7 400\n0:7 444\nof the web\n{digest}  /run/secrets/db\nread-only\n");
        let output = bench.output(attempt.key).await;
        assert!(output.ends_with(&expected), "{output}");
        let name = attempt.key.container_name();
        let inspected = engine().await.inspect_container(&name, None::<InspectContainerOptions>).await.unwrap();
        assert!(!format!("{inspected:?}").contains(SECRET));
        let of_attempt = files_dir.join(bench.owner.node_id.to_string()).join(name);
        assert!(of_attempt.join("0").exists());
        bench.runtime.take_back(attempt.key).await.unwrap();
        assert!(!of_attempt.exists());
        bench.runtime.remove(attempt.key).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn files_outlive_the_worker_and_those_of_no_container_do_not() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let files_dir = dir.path().to_owned();
    check(docker(dir.path()).await, |bench| async move {
        let db = grant(ConfigKind::Secret, "db", "/db", 0, 0o444);
        let attempt = attempt("busybox cat /db; while :; do busybox sleep 0.05; done", &[(db, "kept\n")]);
        bench.runtime.create(&attempt).await.unwrap();
        bench.runtime.start(attempt.key).await.unwrap();
        let left = files_dir.join(bench.owner.node_id.to_string()).join(new_key().container_name());
        std::fs::create_dir(&left).unwrap();
        let later = bench.kind.runtime(bench.owner.clone());
        later.survey(None).await.unwrap();
        assert!(left.exists(), "it may be another worker's yet");
        later.take_charge();
        later.survey(Some(u64::MAX)).await.unwrap();
        assert!(!left.exists());
        let kill = StopPolicy { signal: "SIGKILL".to_owned(), ..StopPolicy::default() };
        later.stop(attempt.key, &kill, None).await.unwrap();
        later.restart(attempt.key).await.unwrap();
        while bench.output(attempt.key).await != "kept\nkept\n" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        later.remove(attempt.key).await.unwrap();
        assert_eq!(std::fs::read_dir(left.parent().unwrap()).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn files_of_a_container_that_can_not_be_created_are_gone() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let files_dir = dir.path().to_owned();
    check(docker(dir.path()).await, |bench| async move {
        let mut spec = shell("exit 0");
        spec.image = "davit-test/no-such-image:1".parse().unwrap();
        spec.files = vec![grant(ConfigKind::Secret, "db", "/db", 0, 0o444)];
        let files = vec![FileContent::new(*b"of no use")];
        let (key, spec) = (new_key(), Arc::new(container(spec)));
        let attempt = AttemptSpec { key, spec, ports: [].into(), env: Vec::new(), files };
        bench.runtime.create(&attempt).await.unwrap_err();
        assert!(!files_dir.join(bench.owner.node_id.to_string()).join(key.container_name()).exists());
    })
    .await;
}
