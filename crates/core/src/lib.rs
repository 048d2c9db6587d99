//! The words all Davit services share, and the rules that need no I/O.
//!
//! Everything here is pure, synchronous and deterministic: no clock, no randomness, no locks, no runtime.
//! Decisions take `now` as an argument and return a value that says what to do and why.
//! Protobuf stops before this crate: `davit-proto` converts to and from these types.

pub mod constraint;
pub mod deployment;
pub mod drain;
pub mod file;
pub mod id;
pub mod job;
pub mod labels;
pub mod lease;
pub mod node;
pub mod placement;
pub mod resources;
pub mod restart;
pub mod spec;
pub mod state;
pub mod task;
pub mod validate;
pub mod volume;
pub mod words;
