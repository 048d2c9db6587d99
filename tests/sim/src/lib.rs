//! A whole Davit cluster in one process: the real manager, scheduler and workers (with the fake runtime) on a simulated
//! network, clocks and disks, all from one seed. Users and faults act side by side; then the promises of DESIGN.md section 8
//! are checked from what happened.
//!
//! How it works: every process is a set of tasks of one tokio runtime with paused time, which jumps from timer to timer.
//! All that a process can reach goes through a gate ([`gate`]); to kill it is to close the gate. Randomness comes from the
//! seed, that of hash maps and of `select!` too ([`entropy`]), so the same seed gives the same history to the letter.

pub mod caught;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod entropy;
pub mod faults;
pub mod gate;
pub mod history;
pub mod machine;
pub mod model;
pub mod net;
pub mod panics;
pub mod run;
pub mod stale_scheduler;
pub mod workload;

pub use davit_svc_kit::rng;
