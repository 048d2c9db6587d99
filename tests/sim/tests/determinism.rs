//! The same seed gives the same history, and other seeds others.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::process::Command;

fn digest(seed: u64) -> String {
    let ended = Command::new(env!("CARGO_BIN_EXE_davit-sim")).args(["--seed", &seed.to_string()]).output().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{told}");
    told
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 2, 3] {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
    assert_ne!(digest(1), digest(2));
}
