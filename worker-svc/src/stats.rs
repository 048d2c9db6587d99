//! Measures the machine, or the container that the worker runs in.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use davit_core::node::NodeStats;
use davit_core::resources::Resources;
use jiff::Timestamp;
use parking_lot::Mutex;
use sysinfo::System;
use tokio::time::Instant;

mod cgroup;

use self::cgroup::Cgroup;

/// Measured anew at most this often; who asks more often gets the last answer.
const MIN_PERIOD: Duration = Duration::from_millis(500);

/// Tells what a node has and what of it is used.
#[async_trait]
pub trait Measure: Debug + Send + Sync {
    /// What the machine or container has.
    fn capacity(&self) -> Resources;

    /// What is used now.
    async fn measure(&self, now: Timestamp, running_tasks: u32) -> NodeStats;
}

/// Measures the machine that this process runs on.
#[derive(Debug, Clone)]
pub struct Meter {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    system: Option<System>,
    cgroup: Cgroup,
    data_dir: PathBuf,
    /// Cpu time that was used, and when that was read, for containers: their usage is only told as a sum.
    cpu_sum: Option<(Duration, Instant)>,
    last: Option<(NodeStats, Instant)>,
}

impl Meter {
    /// Measures this machine, and the disk that holds a directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let system = System::new().inspect_err(|error| tracing::warn!(%error, "can't measure this machine")).ok();
        let mut inner = Inner {
            system,
            cgroup: Cgroup::of_this_process(),
            data_dir: data_dir.to_owned(),
            cpu_sum: None,
            last: None,
        };
        // Cpu usage is a difference; this is what the first measurement is compared with.
        if let Some(system) = &mut inner.system {
            system.refresh_cpu_usage();
        }
        inner.cpu_sum = inner.cgroup.cpu_used().map(|used| (used, Instant::now()));
        Self { inner: Arc::new(Mutex::new(inner)) }
    }
}

#[async_trait]
impl Measure for Meter {
    fn capacity(&self) -> Resources {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Includes the quota of the process's own group; one of a group above it is found below.
        let cores = u64::try_from(threads).unwrap_or(1).saturating_mul(1000);
        let mut memory = 0;
        if let Some(system) = &mut inner.system {
            system.refresh_memory();
            memory = system.total_memory();
        }
        Resources {
            cpu_millis: inner.cgroup.cpu_limit_millis().map_or(cores, |limit| limit.min(cores).max(1)),
            memory_bytes: inner.cgroup.memory_limit().map_or(memory, |limit| limit.min(memory)),
            disk_bytes: disk(&inner.data_dir).map_or(0, |(total, _)| total),
        }
    }

    /// Reads a few small files of the kernel, on a thread that may block.
    async fn measure(&self, now: Timestamp, running_tasks: u32) -> NodeStats {
        let inner = Arc::clone(&self.inner);
        let measured = tokio::task::spawn_blocking(move || inner.lock().measure(now)).await;
        match measured {
            Ok(stats) => NodeStats { running_tasks, ..stats },
            Err(error) => {
                tracing::warn!(%error, "can't measure this machine");
                NodeStats { running_tasks, ..nothing(now) }
            }
        }
    }
}

/// What a machine uses on which nothing runs.
pub(crate) fn nothing(now: Timestamp) -> NodeStats {
    NodeStats {
        measured_at: now,
        cpu_used_millis: 0,
        memory_used_bytes: 0,
        disk_used_bytes: 0,
        load_1m: 0.0,
        running_tasks: 0,
    }
}

impl Inner {
    fn measure(&mut self, now: Timestamp) -> NodeStats {
        let at = Instant::now();
        if let Some((stats, measured)) = self.last
            && at.duration_since(measured) < MIN_PERIOD
        {
            return stats;
        }
        let mut stats = nothing(now);
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory();
            let cores = system.cpus().len() as f64;
            // `as` stops at the bounds of the type, and at zero for what is no number.
            stats.cpu_used_millis = (f64::from(system.global_cpu_usage()) * cores * 10.0) as u64;
            stats.memory_used_bytes = system.used_memory();
        }
        if let Some(used) = self.cgroup.cpu_used()
            && let Some((before, since)) = self.cpu_sum.replace((used, at))
        {
            let seconds = at.duration_since(since).as_secs_f64();
            stats.cpu_used_millis = (used.saturating_sub(before).as_secs_f64() / seconds * 1000.0) as u64;
        }
        stats.memory_used_bytes = self.cgroup.memory_used().unwrap_or(stats.memory_used_bytes);
        stats.disk_used_bytes = disk(&self.data_dir).map_or(0, |(_, used)| used);
        stats.load_1m = System::load_average().map_or(0.0, |load| load.one);
        self.last = Some((stats, at));
        stats
    }
}

/// Total and used bytes of the file system that holds a directory. Asked of the kernel by path, which is right for
/// overlays and bind mounts too, where a list of disks is not.
pub(crate) fn disk(path: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = u128::from(stat.fragment_size());
    let bytes = |blocks: u128| u64::try_from(blocks * unit).unwrap_or(u64::MAX);
    let (all, free) = (u128::from(stat.blocks()), u128::from(stat.blocks_free()));
    Some((bytes(all), bytes(all.saturating_sub(free))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_has_something_of_everything_and_uses_no_more() {
        let meter = Meter::new(Path::new("/"));
        let capacity = meter.capacity();
        assert!(capacity.cpu_millis > 0 && capacity.memory_bytes > 1 << 20 && capacity.disk_bytes > 1 << 20);
        let stats = meter.measure(Timestamp::UNIX_EPOCH, 3).await;
        assert!(stats.memory_used_bytes > 0 && stats.memory_used_bytes <= capacity.memory_bytes, "{stats:?}");
        assert!(stats.disk_used_bytes <= capacity.disk_bytes, "{stats:?}");
        assert_eq!(stats.running_tasks, 3);
    }
}
