//! The manager: owns the truth about tasks and nodes, reconciles it, and talks to users, workers and the scheduler.

pub mod commands;
mod contacts;
pub mod dispatch;
mod health;
mod logs;
pub mod reconcile;
pub mod state;
pub mod store;
pub mod writer;
