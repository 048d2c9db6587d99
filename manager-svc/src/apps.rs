//! Apps: deployments and jobs as Compose files describe them. What a project becomes, and what would follow from it. Pure.

mod diff;
mod map;
mod plainest;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use self::diff::spec_changes;
pub(crate) use self::map::{Mapped, Refusals, map_project};
pub(crate) use self::plan::{plan_token, planned};
