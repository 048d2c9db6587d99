//! The Davit scheduler: selects candidate nodes, scores them and picks.
//!
//! [`placement`] decides and is pure. The scheduler owns no truth: it may be killed at any time, and the manager checks
//! every answer again before it counts.

pub mod placement;
