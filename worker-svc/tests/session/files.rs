//! What files of attempts hold comes from the manager when it is needed, and is kept nowhere.

use std::path::Path;

use davit_core::file::{ConfigKind, ConfigName, FileDigest, FileGrant};
use davit_core::spec::{RuntimeSpec, TaskSpec};
use davit_core::state::TaskState;
use davit_core::task::DesiredState::Running;

use crate::CLUSTER;
use crate::manager::{Manager, SECRET};
use crate::worker::{Machine, container, new_key};

fn with_file(content: &[u8]) -> TaskSpec {
    let mut spec = container(&[]);
    if let RuntimeSpec::Container(container) = &mut spec.runtime {
        container.files.push(FileGrant {
            config: ConfigName { kind: ConfigKind::Secret, name: "db".to_owned() },
            digest: Some(FileDigest::of(content)),
            target: "/run/secrets/db".to_owned(),
            uid: 0,
            gid: 0,
            mode: FileGrant::DEFAULT_MODE,
        });
    }
    spec
}

fn holds(dir: &Path, text: &[u8]) -> bool {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().any(|path| match path.is_dir() {
        true => holds(&path, text),
        false => std::fs::read(&path).unwrap_or_default().windows(text.len()).any(|window| window == text),
    })
}

#[tokio::test]
async fn what_an_attempt_is_given_is_fetched_for_it_and_is_not_in_the_workers_store() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    let key = new_key();
    session.change(key, Running, &with_file(SECRET)).await;
    session.until(key, TaskState::Running).await;
    worker.until_all_acknowledged(&mut session).await;
    assert!(!holds(machine.data_dir(), SECRET));
    assert!(holds(machine.data_dir(), FileDigest::of(SECRET).to_string().as_bytes()), "what is looked for is found");
}

#[tokio::test]
async fn an_attempt_fails_if_the_manager_has_not_what_it_needs() {
    let (mut manager, machine) = (Manager::start().await, Machine::new());
    let _worker = machine.worker(&manager).await;
    let mut session = manager.session_with(CLUSTER, &[]).await;
    let key = new_key();
    session.change(key, Running, &with_file(b"something else")).await;
    let failed = session.until(key, TaskState::Failed).await;
    assert!(failed.reason.contains("no such content"), "{failed:?}");
}
