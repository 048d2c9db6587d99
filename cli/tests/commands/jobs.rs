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
            assert_eq!((code(&output), stdout(&output).as_str()), (Some(0), "batch\n"), "{command}: {}", stderr(&output));
        }
    }
    assert_eq!(stdout(&davit(&manager, &["job", "ls", "-q"]).await), "");
    cluster.stop().await.unwrap();
}
