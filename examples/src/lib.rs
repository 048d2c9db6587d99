//! Davit's parts as a library: one task, worker, manager, scheduler and node made in code, without a network.

mod first_steps;

pub use first_steps::first_steps;
