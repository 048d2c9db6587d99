//! Davit's real programs on this machine, each a process of its own, and what measurements ask of them: what `cluster`, `idle`
//! and `api` share.

pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod control_plane;
pub(crate) mod latency;
pub(crate) mod metrics;
pub(crate) mod places;
pub(crate) mod programs;
pub(crate) mod work;

use std::time::Duration;

/// Between two looks at how many run.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// Nothing changes for so long: it hangs.
pub(crate) const HANG: Duration = Duration::from_secs(60);
