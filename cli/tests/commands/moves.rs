//! Tasks that are moved, one by one or to even out a cluster.

use std::time::Duration;

use serde_json::Value;

use super::{a_program, code, davit, running_on, shown_of, start, stderr, stdout};

async fn node_of(manager: &str, task: &str) -> String {
    shown_of(manager, task, "Node").await
}

#[tokio::test]
async fn a_task_is_moved_and_waited_for() {
    let (cluster, manager) = start("move").await;
    let sleeper = ["run", "-d", "--process", "--name", "web", "sleep", "600"];
    assert_eq!(code(&davit(&manager, &sleeper).await), Some(0));
    assert_eq!(code(&davit(&manager, &["explain", "web"]).await), Some(0));
    while stdout(&davit(&manager, &["ps", "-q", "--state", "running"]).await).is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for node in ["node-1", "node-2", "node-1"] {
        // It may be there already: then there is nothing to do.
        if node_of(&manager, "web").await != node {
            let output = davit(&manager, &["move", "web", node]).await;
            assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        }
        assert_eq!(node_of(&manager, "web").await, node);
        assert!(stdout(&davit(&manager, &["ps"]).await).contains("RUNNING"));
    }
    assert_eq!(code(&davit(&manager, &["node", "cordon", "node-2"]).await), Some(0));
    let output = davit(&manager, &["move", "web", "node-2"]).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("cordoned"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

/// All tasks on node-1, and node-2 empty: `count` processes of this command.
async fn make_uneven(manager: &str, count: usize, command: &[&str]) {
    assert_eq!(code(&davit(manager, &["node", "cordon", "node-2"]).await), Some(0));
    let count_text = count.to_string();
    let line = ["run", "-d", "--process", "--name", "web", "--count", &count_text, "--cpus", "0.1"];
    let output = davit(manager, &[&line[..], command].concat()).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    while running_on(manager, "node-1").await < count {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(code(&davit(manager, &["node", "uncordon", "node-2"]).await), Some(0));
}

#[tokio::test]
async fn an_uneven_cluster_is_evened_out() {
    let (cluster, manager) = start("rebalance").await;
    make_uneven(&manager, 6, &["sleep", "600"]).await;

    let shown = stdout(&davit(&manager, &["rebalance"]).await);
    assert!(shown.contains("node-2") && shown.contains("davit rebalance --apply"), "{shown}");
    assert_eq!(running_on(&manager, "node-1").await, 6, "a plan changes nothing");
    let output = davit(&manager, &["rebalance", "--apply", "--budget", "1", "--yes"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("The move was made"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--budget allows more."), "{}", stderr(&output));
    let output = davit(&manager, &["rebalance", "--apply", "--at-once", "2", "--yes"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("All 2 moves were made"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("--budget"), "{}", stderr(&output));
    assert_eq!(running_on(&manager, "node-1").await, 3);
    let shown = stdout(&davit(&manager, &["rebalance"]).await);
    assert!(shown.starts_with("Nothing to move"), "{shown}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_moved_unasked() {
    let (cluster, manager) = start("unasked").await;
    make_uneven(&manager, 4, &["sleep", "600"]).await;
    for line in [&["rebalance", "--apply"][..], &["rebalance", "--apply", "-o", "json"]] {
        let output = davit(&manager, line).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(2), ""), "{line:?}");
        assert!(stderr(&output).contains("pass --yes"), "{}", stderr(&output));
    }
    assert_eq!(running_on(&manager, "node-1").await, 4);

    let output = davit(&manager, &["rebalance", "--apply", "--yes", "-o", "json"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let done: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(done["plan"]["moves"].as_array().unwrap().len(), 2, "{done}");
    let outcomes: Vec<_> = done["results"].as_array().unwrap().iter().map(|each| &each["outcome"]).collect();
    assert_eq!(outcomes, ["MADE", "MADE"], "{done}");
    assert!(done["imbalanceNow"].as_f64().unwrap() < 0.01, "{done}");

    // Of an even cluster there is the same object, with nothing in it.
    let output = davit(&manager, &["rebalance", "--apply", "--yes", "-o", "json"]).await;
    let done: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((code(&output), &done["results"]), (Some(0), &Value::Array(Vec::new())), "{done}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_first_move_that_fails_is_the_last() {
    let (cluster, manager) = start("failing").await;
    let program = a_program("failing");
    make_uneven(&manager, 6, &[program.to_str().unwrap()]).await;
    // What is not there can't be started on another node.
    std::fs::remove_file(&program).unwrap();

    let output = davit(&manager, &["rebalance", "--apply", "--yes"]).await;
    let told = stderr(&output);
    assert_eq!(code(&output), Some(1), "{told}");
    assert!(told.contains("1 of 3  web") && told.contains("failed: it ended FAILED"), "{told}");
    assert!(told.contains("0 of 3 moves were made. web ") && told.contains("The other 2 were not begun."), "{told}");
    assert!(!told.contains("2 of 3"), "{told}");
    assert_eq!(running_on(&manager, "node-1").await, 5);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn moves_that_take_too_long_go_on() {
    let (cluster, manager) = start("slow").await;
    make_uneven(&manager, 4, &["--stop-grace", "1s", "--", "sh", "-c", "trap '' TERM; sleep 600"]).await;
    let output = davit(&manager, &["rebalance", "--apply", "--yes", "--timeout", "200ms"]).await;
    let told = stderr(&output);
    assert_eq!(code(&output), Some(1), "{told}");
    assert!(told.contains("0 of 2 moves were made so far. 2 moves had not arrived within 0.2 s and go on"), "{told}");
    while running_on(&manager, "node-2").await < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.stop().await.unwrap();
}
