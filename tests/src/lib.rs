//! The harness of Davit's tests: clusters of real services in one process on free ports, links that can be cut, grpcurl.

#![allow(clippy::expect_used, reason = "a harness that can't work fails the test")]

pub mod binaries;
pub mod cluster;
pub mod command_line;
pub mod engine;
pub mod grpcurl;
pub mod programs;
pub mod proxy;
pub mod silent_engine;
pub mod wait;
pub mod worker_dir;
