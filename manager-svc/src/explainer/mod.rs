//! Single questions to the scheduler, aside from the stream of placements: where a task could go and why not elsewhere, what if
//! nodes were otherwise, and which moves would even the cluster out.
//!
//! What is asked is made here from the state, purely; [`SchedulerClient`] asks it. Nothing here changes the state.

mod client;
mod elsewhere;
mod views;
mod what_if;

pub use self::client::{Error, SchedulerClient, Turn};
pub(crate) use self::elsewhere::{placement_group, question_of_move};
pub(crate) use self::views::{fill_movable, fill_preemptible, node_views};
pub(crate) use self::what_if::{NodeOverride, what_if};
