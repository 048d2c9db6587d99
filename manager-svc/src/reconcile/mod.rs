//! Decisions that compare what is with what should be. Pure: a snapshot and the time go in, what to do comes out.

mod deployment;
mod drain;
mod foreign;
mod job;
mod node_health;
#[cfg(test)]
mod tests;
mod unbegun;

pub use self::deployment::{
    DeploymentPlan, DeploymentStep, TaskChanges, desired_tasks, plan_deployment, task_changes, trouble_of,
};
pub(crate) use self::deployment::{lacking_nodes, outgoing_tasks};
pub use self::drain::{DrainNext, DrainStep, Running, next_of_drain, why_stuck};
pub use self::foreign::why_abandoned;
pub(crate) use self::job::begin_run;
pub use self::job::{JobPlan, JobStep, plan_job, trouble_of_job, with_end_noted};
pub use self::node_health::{ABOUT_TO_GO, Contact, Verdict, away_for, down_in, in_touch_for, judge, pace};
pub use self::unbegun::{Unbegun, has_unbegun, unbegun};
