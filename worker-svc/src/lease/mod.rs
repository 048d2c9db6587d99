//! The lease: until when this node may run tasks that must never run twice (`on_node_loss: stop_and_replace`) without hearing
//! from the manager. Each acknowledged heartbeat renews it; when it has ended they are stopped, whatever the manager thinks
//! of this node, which is why the manager may place them anew a little later.
//!
//! Times are uptimes of the machine ([`davit_svc_kit::clock::Clock::uptime`]): nobody can set them, and they go on while
//! the machine is suspended.

mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

pub use self::file::LeaseFile;

/// Why an attempt is stopped at the end of the lease, for people.
pub(crate) const ENDED: &str = "its node's lease ended: the manager was out of reach for too long";
