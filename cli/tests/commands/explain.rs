//! Why tasks are where they are, and what would become of others.

use std::time::Duration;

use serde_json::Value;

use super::{code, davit, running_on, start, stderr, stdout};

#[tokio::test]
async fn what_if_is_answered_without_creating_anything() {
    let (cluster, manager) = start("explain").await;
    let output = davit(&manager, &["explain", "--process", "--cpus", "0.01", "--count", "4"]).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    assert!(shown.starts_with("fits 2 of 2 nodes"), "{shown}");
    assert!(shown.contains("RANK   NODE") && shown.contains("All 4 find a place."), "{shown}");

    let too_much = ["explain", "--process", "--memory", "900t"];
    let output = davit(&manager, &too_much).await;
    assert_eq!(code(&output), Some(1));
    assert!(stdout(&output).contains("fits 0 of 2 nodes: 2 lack memory"), "{}", stdout(&output));
    let larger = [&too_much[..], &["--node", "big:cpus=64,memory=999t,disk=1t", "--without", "node-1"]].concat();
    let output = davit(&manager, &larger).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    assert!(shown.starts_with("fits 1 of 2 nodes") && shown.contains("big") && !shown.contains("node-1"), "{shown}");

    let output = davit(&manager, &["explain", "--process", "-o", "json"]).await;
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["explanation"]["fittingCount"], 2, "{answer}");
    assert_eq!(stdout(&davit(&manager, &["ps", "-a", "-q"]).await), "");

    let output = davit(&manager, &["explain", "--process", "--constraint", "zone ~ a"]).await;
    assert_eq!(code(&output), Some(2));
    assert!(stderr(&output).contains("spec.constraints[0]"), "{}", stderr(&output));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn without_an_answer_explain_ends_with_2() {
    let (one, other) =
        tokio::join!(davit("127.0.0.1:1", &["explain", "web"]), davit("127.0.0.1:1", &["explain", "--cpus", "2"]));
    assert_eq!((code(&one), code(&other)), (Some(2), Some(2)));
    let (cluster, manager) = start("no-answer").await;
    let twice = ["explain", "--process", "--node", "node-1:cpus=1", "--without", "node-1"];
    for (line, problem) in [
        (&["explain", "gone"][..], "no task with the id or name `gone`"),
        (&["explain", "--process", "--algorithm", "dice"], "dice"),
        (&twice, "node `node-1` is overridden twice"),
    ] {
        let output = davit(&manager, line).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(2), ""), "{line:?}");
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_task_is_explained_as_it_is_and_as_it_is_not() {
    let (cluster, manager) = start("otherwise").await;
    let waits = ["run", "-d", "--process", "--name", "big", "--memory", "900t", "sleep", "600"];
    assert_eq!(code(&davit(&manager, &waits).await), Some(0));
    let output = davit(&manager, &["explain", "big"]).await;
    assert_eq!(code(&output), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("big ") && stdout(&output).contains(" is PENDING"), "{}", stdout(&output));

    let smaller = ["explain", "big", "--memory", "1m"];
    let output = davit(&manager, &smaller).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    assert!(shown.contains("fits 2 of 2 nodes") && shown.contains("equally good; a seed decides."), "{shown}");
    let output = davit(&manager, &[&smaller[..], &["--constraint", "node.name == node-1"]].concat()).await;
    assert!(stdout(&output).contains("fits 1 of 2 nodes"), "{}", stdout(&output));

    // One on each node: two find a place, unless all three must.
    let three = [&smaller[..], &["--distinct-hosts", "--count", "3"]].concat();
    let output = davit(&manager, &three).await;
    assert_eq!(code(&output), Some(1));
    assert!(stdout(&output).contains("2 of 3 find a place; 1 would wait"), "{}", stdout(&output));
    let output = davit(&manager, &[&three[..], &["--all-or-nothing"]].concat()).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(1));
    assert!(shown.contains("None of 3 finds a place: needs room for all 3 at once, 2 fit"), "{shown}");
    assert!(!shown.contains("WOULD GO TO"), "{shown}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn tasks_that_would_be_stopped_are_named() {
    let (cluster, manager) = start("victims").await;
    let nodes: Value = serde_json::from_str(&stdout(&davit(&manager, &["node", "ls", "-o", "json"]).await)).unwrap();
    let cores = nodes[0]["allocatable"]["cpuMillis"].as_str().unwrap().parse::<f64>().unwrap() / 1000.0;
    let cpus = format!("{:.3}", cores * 0.8);
    let line = ["run", "-d", "--process", "--name", "low", "--count", "2", "--cpus", &cpus, "sleep", "600"];
    assert_eq!(code(&davit(&manager, &line).await), Some(0));
    while running_on(&manager, "node-1").await + running_on(&manager, "node-2").await < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let output = davit(&manager, &["explain", "--process", "--cpus", &cpus, "--priority", "5", "--preempt"]).await;
    let shown = stdout(&output);
    assert_eq!(code(&output), Some(0), "{shown}{}", stderr(&output));
    let stopped = shown.lines().skip_while(|line| !line.contains("STOPPED TASKS")).nth(1);
    assert!(stopped.unwrap_or_default().contains("   low "), "{shown}");
    cluster.stop().await.unwrap();
}
