//! What commands do, as facts; `properties` holds what no sequence of them may break.

mod claims;
mod configs;
mod deployments;
mod drains;
mod homes;
mod housekeeping;
mod nodes;
mod placements;
mod preemptions;
mod properties;
mod reports;
mod restarts;
mod tasks;
