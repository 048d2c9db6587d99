//! The program as an operator meets it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the program writes when it does not start.
fn refused(data_dir: &Path, listen: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_davit-worker"))
        .args(["--name", "node-1", "--docker", "off", "--http-listen", "127.0.0.1:0", "--listen", listen])
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_data_directory_that_cannot_be_used_is_told_before_a_port_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let told = refused(file.path(), &taken.local_addr().unwrap().to_string());
    assert!(told.contains("data directory") && !told.contains("listen"), "{told}");
    assert_eq!(told.matches("os error").count(), 1, "each cause is told once: {told}");
}
