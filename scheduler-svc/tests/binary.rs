//! The binary: what it refuses before it binds a port, and its health check.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod support;

use std::process::Output;

use support::{HANG, Scheduler};
use tokio::process::Command;

/// Runs the binary to its end, with nothing of this process's settings.
async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit-scheduler"));
    command.env_clear().args(arguments).envs(environment.iter().copied()).kill_on_drop(true);
    tokio::time::timeout(HANG, command.output()).await.expect("the binary hangs").unwrap()
}

#[tokio::test]
async fn the_health_check_tells_by_its_exit_code() {
    let scheduler = Scheduler::start().await;
    let address = scheduler.http_address.to_string();
    let output = run(&["healthcheck"], &[("DAVIT_HTTP_LISTEN", &address)]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    scheduler.stops().await;
    let output = run(&["healthcheck"], &[("DAVIT_HTTP_LISTEN", &address)]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let problem = String::from_utf8(output.stderr).unwrap();
    assert!(problem.contains(&address), "{problem}");
}

#[tokio::test]
async fn wrong_settings_are_named_and_nothing_is_served() {
    let directory = std::env::temp_dir().join(format!("davit-scheduler-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("davit.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:0\"\nlisten-http = \"127.0.0.1:0\"\n").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, environment, named) in [
        (vec!["--listen", "here"], vec![], "--listen"),
        (vec![], vec![("DAVIT_HTTP_LISTEN", "7411")], "--http-listen"),
        (vec![], vec![("DAVIT_LOG", "a=b=c")], "log = `a=b=c`"),
        (vec!["--listen", "127.0.0.1:7411"], vec![], "http-listen = `127.0.0.1:7411`"),
        (vec![], vec![("DAVIT_CONFIG", file)], "`listen-http`"),
        (vec!["--config", "/no/such/davit.toml"], vec![], "/no/such/davit.toml"),
        // An address of nobody on this machine.
        (vec!["--listen", "192.0.2.1:7410"], vec![], "listen = `192.0.2.1:7410`"),
    ] {
        let output = run(&arguments, &environment).await;
        let problem = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && problem.contains(named), "{named}: {problem}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
