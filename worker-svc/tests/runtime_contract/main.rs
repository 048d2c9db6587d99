//! One contract suite for all runtimes: what the worker relies on holds for each of them.
//!
//! The docker part needs an engine at /var/run/docker.sock on this machine, and /bin/busybox (static) to make an
//! image of; without them it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod collect;
mod docker;
mod fake;
mod files;
mod harness;
mod image;
mod networks;
mod probes;
mod process;
mod pull;
mod registry;
mod suite;
