//! Deployments: created, paused, deleted.

use serde_json::Value;

use super::{code, davit, start, stderr, stdout};

/// Takes a moment to stop.
const SLOW: &str = "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.05; done";

#[tokio::test]
async fn what_is_deleted_is_gone_when_the_command_ends() {
    let (cluster, manager) = start("deployment-rm").await;
    let create = ["deployment", "create", "--process", "--name", "web", "--update-monitor", "0s", "sh", "-c", SLOW];
    for _ in 0..2 {
        let output = davit(&manager, &create).await;
        assert_eq!(code(&output), Some(0), "its name is free: {}", stderr(&output));
        let output = davit(&manager, &["deployment", "rm", "web"]).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "web\n"), "{}", stderr(&output));
    }
    assert_eq!(stdout(&davit(&manager, &["ps", "-q"]).await), "");

    assert_eq!(code(&davit(&manager, &create).await), Some(0));
    // All or none.
    let output = davit(&manager, &["deployment", "rm", "web", "nowhere"]).await;
    assert_eq!((code(&output), stdout(&output).as_str()), (Some(1), ""), "{}", stderr(&output));
    let output = davit(&manager, &["deployment", "rm", "-d", "web", "-o", "json"]).await;
    let removed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &removed[0]["spec"]["name"]), (Some(0), &Value::from("web")), "{}", stderr(&output));
    // It may be gone by now, which is what was asked for.
    let listed = stdout(&davit(&manager, &["deployment", "ls"]).await);
    assert!(listed.contains("DELETING") || !listed.contains("web"), "{listed}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_paused_and_resumed_is_named() {
    let (cluster, manager) = start("deployment-pause").await;
    // It is under way for as long as it has to stay healthy.
    let line = ["deployment", "create", "-d", "--process", "--name", "web", "--update-monitor", "10m", "sleep", "600"];
    let output = davit(&manager, &line).await;
    assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "web\n"), "{}", stderr(&output));
    for command in ["pause", "resume"] {
        let output = davit(&manager, &["deployment", command, "web"]).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "web\n"), "{command}: {}", stderr(&output));
    }
    cluster.stop().await.unwrap();
}
