//! The Davit worker: runs the tasks that the manager assigns to one node and reports what becomes of them.

pub mod agent;
pub mod identity;
pub mod runtime;
