//! Deployments: created, scaled, paused, deleted.

use serde_json::Value;

use super::nodes::Running;
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
    let line = "deployment create -d --process --name web --update-monitor 10m --update-progress-deadline 1h sleep 600";
    let output = davit(&manager, &line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "web\n"), "{}", stderr(&output));
    let mut rollout = Running::start(&manager, &["deployment", "scale", "web", "2"]);
    rollout.until("IN_PROGRESS").await;
    rollout.interrupt().await;
    let told = rollout.until("The rollout goes on").await;
    assert!(told.contains("`davit rollout web`"), "{told}");
    assert_eq!(rollout.code().await, Some(130));
    for command in ["pause", "resume"] {
        let output = davit(&manager, &["deployment", command, "web"]).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "web\n"), "{command}: {}", stderr(&output));
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn several_are_scaled_at_one_time_or_none() {
    let (cluster, manager) = start("deployment-scale").await;
    for name in ["web", "db"] {
        let line = ["deployment", "create", "--process", "--name", name, "--update-monitor", "0s", "sleep", "600"];
        let output = davit(&manager, &line).await;
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    }
    let output = davit(&manager, &["deployment", "scale", "web=2", "nowhere=1"]).await;
    assert_eq!(code(&output), Some(1), "{}", stderr(&output));
    let output = davit(&manager, &["deployment", "scale", "web=3", "db=2"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let listed: Value =
        serde_json::from_slice(&davit(&manager, &["deployment", "ls", "-o", "json"]).await.stdout).unwrap();
    let replicas: Vec<_> = (0..2).map(|place| &listed[place]["spec"]["replicated"]["replicas"]).collect();
    assert_eq!(replicas, [2, 3], "db, web");
    let output = davit(&manager, &["deployment", "scale", "-d", "web", "1"]).await;
    assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "web\n"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn help_says_what_holds_for_the_command() {
    let help = async |command: &[&str]| {
        let shown = stdout(&davit("127.0.0.1:1", &[command, &["--help"]].concat()).await);
        shown.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let create = help(&["deployment", "create"]).await;
    let restarts = "always; unless set always";
    assert!(create.contains(restarts) && create.contains("--global"), "{create}");
    assert!(create.contains("Name of the deployment and of its tasks"), "{create}");
    let headings = [
        "How updates are rolled out:",
        "How rollbacks are rolled out:",
        "What it runs:",
        "How it is known to be healthy:",
    ];
    let mut rest = create.as_str();
    for heading in headings {
        rest = rest.split_once(heading).unwrap_or_else(|| panic!("no {heading} in {create}")).1;
    }
    let update = help(&["deployment", "update"]).await;
    assert!(update.contains("What is not given stays as it is") && !update.contains("--global"), "{update}");
    assert!(update.contains("Rename the tasks, which replaces them") && !update.contains("unless given"), "{update}");
    assert!(help(&["job", "run"]).await.contains("never, on-failure; unless set on-failure"));
    let update = help(&["job", "update"]).await;
    assert!(update.contains("What is not given stays as it is") && !update.contains("unless given"), "{update}");
    let run = help(&["run"]).await;
    assert!(run.contains("always; unless set never"), "{run}");
}
