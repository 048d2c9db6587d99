//! Jobs: run, paused, stopped, deleted.

use super::{code, davit, start, stderr, stdout};

#[tokio::test]
async fn what_is_done_with_jobs_is_named_and_a_deleted_one_is_gone() {
    let (cluster, manager) = start("job-names").await;
    let run = ["job", "run", "-d", "--process", "--name", "batch", "sleep", "600"];
    for _ in 0..2 {
        let output = davit(&manager, &run).await;
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "batch\n"), "{}", stderr(&output));
        for command in ["pause", "resume", "stop", "rm"] {
            let output = davit(&manager, &["job", command, "batch"]).await;
            assert_eq!(
                (code(&output), stdout(&output).as_str()),
                (Some(0), "batch\n"),
                "{command}: {}",
                stderr(&output)
            );
        }
    }
    assert_eq!(stdout(&davit(&manager, &["job", "ls", "-q"]).await), "");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn logs_follow_a_run_to_its_end() {
    let (cluster, manager) = start("job-logs").await;
    let script = "echo begin; echo oops >&2; sleep 0.5; echo end";
    let run = ["job", "run", "-d", "--process", "--name", "seq", "--completions", "3", "--parallelism", "1"];
    let output = davit(&manager, &[&run[..], &["sh", "-c", script]].concat()).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let output = davit(&manager, &["job", "logs", "-f", "seq"]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let (shown, told) = (stdout(&output), stderr(&output));
    for index in 0..3 {
        let label = format!("index {index} | ");
        let lines: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix(label.as_str())).collect();
        assert_eq!(lines, ["begin", "end"], "index {index} of {shown}");
        assert!(told.contains(&format!("{label}oops\n")), "{told}");
    }
    assert_eq!(shown.lines().count(), 6, "{shown}");
    // Of one alone its output as it is.
    let output = davit(&manager, &["job", "logs", "-f", "seq", "--index", "1"]).await;
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("begin\nend\n", "oops\n"));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn logs_have_the_attempts_before_the_last() {
    let (cluster, manager) = start("job-attempts").await;
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let script = format!("echo $DAVIT_INDEX; test -e {0} || {{ touch {0}; exit 3; }}", seen.display());
    let output = davit(&manager, &["job", "run", "-d", "--process", "--name", "twice", "sh", "-c", &script]).await;
    assert_eq!(code(&output), Some(0), "{}", stderr(&output));
    let output = davit(&manager, &["job", "logs", "-f", "twice"]).await;
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("0\n0\n", "attempt 2:\n"));
    let output = davit(&manager, &["job", "logs", "twice"]).await;
    let told = "index 0:\nindex 0, attempt 2:\n";
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("0\n0\n", told));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_job_is_told_with_its_field() {
    let (cluster, manager) = start("job-wrong").await;
    let told = async |options: &[&str], expected: i32| {
        let output = davit(&manager, &[&["job", "run", "-d", "--process"], options, &["true"]].concat()).await;
        assert_eq!(code(&output), Some(expected), "{}", stderr(&output));
        stderr(&output)
    };
    let text = told(&["--overlap", "allow"], 2).await;
    assert!(text.contains("--overlap is of a schedule") && text.contains("--cron"), "{text}");
    let text = told(&["--cron", ""], 1).await;
    assert!(text.contains("spec.schedule.cron: a cron expression is needed"), "{text}");
    let text = told(&["--cron", "61 * * * *"], 1).await;
    assert!(text.contains("the minute can't be `61`, it is 0 to 59"), "{text}");
    let text = told(&["--completions", "0"], 1).await;
    assert!(text.contains("spec.completions: is 1 to ") && !text.contains("parallelism"), "{text}");
    let text = told(&["--each", "'a"], 2).await;
    assert!(text.contains("a quote has no end"), "{text}");
    cluster.stop().await.unwrap();
}
