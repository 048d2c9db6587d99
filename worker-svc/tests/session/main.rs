//! A whole worker over a fake engine, with a manager that does what the test says, over real connections.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod cut_off;
mod ends;
mod files;
mod lease;
mod life;
mod manager;
mod orphans;
mod output;
mod restarts;
mod worker;

use std::future::Future;
use std::time::Duration;

use davit_core::id::ClusterId;
use uuid::Uuid;

const CLUSTER: &str = "test";
const CLUSTER_ID: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const HEARTBEAT: Duration = Duration::from_millis(50);
/// Long enough for a heartbeat to be acknowledged on a busy machine.
const LEASE: Duration = Duration::from_secs(2);
/// Only a hang reaches it.
const HANG: Duration = Duration::from_secs(30);

/// Waits for what must come, and names it if it does not.
async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANG, wait).await {
        Ok(value) => value,
        Err(_) => panic!("still no {what}"),
    }
}

/// Waits until a condition that nothing announces holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let polled = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    in_time(what, polled).await;
}
