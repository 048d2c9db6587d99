//! Limits and usage of the control group that the worker runs in, v1 and v2.
//!
//! On a bare machine the worker's group (a systemd slice, say) says nothing of the machine, so usage is taken from the
//! group only where it is limited: then the group is all that the worker has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A limit above this is none: v1 writes "no limit" as a huge number.
const NO_LIMIT: u64 = 1 << 60;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cgroup {
    None,
    /// The group's directories, the own first, then those above it.
    V2(Vec<PathBuf>),
    V1 {
        cpu: Vec<PathBuf>,
        memory: Vec<PathBuf>,
        cpuacct: Vec<PathBuf>,
    },
}

impl Cgroup {
    pub(super) fn of_this_process() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::parse(&groups, Path::new("/sys/fs/cgroup"))
    }

    /// `groups` is as in `/proc/<pid>/cgroup`: lines of `number:controllers:path`.
    fn parse(groups: &str, root: &Path) -> Self {
        let fields = |line: &str| {
            let mut parts = line.splitn(3, ':').map(str::to_owned);
            Some((parts.next()?, parts.next()?, parts.next()?))
        };
        let lines: Vec<_> = groups.lines().filter_map(fields).collect();
        if root.join("cgroup.controllers").exists() {
            let own = lines.iter().find(|(number, _, _)| number == "0");
            return own.map_or(Self::None, |(_, _, path)| Self::V2(upwards(root, path)));
        }
        let of = |controller: &str| {
            let own = lines.iter().find(|(_, names, _)| names.split(',').any(|name| name == controller));
            own.map_or_else(Vec::new, |(_, _, path)| upwards(&root.join(controller), path))
        };
        let (cpu, memory, cpuacct) = (of("cpu"), of("memory"), of("cpuacct"));
        if cpu.is_empty() && memory.is_empty() { Self::None } else { Self::V1 { cpu, memory, cpuacct } }
    }

    /// Thousandths of a core that the group may use: the least of its own and its parents' quotas.
    pub(super) fn cpu_limit_millis(&self) -> Option<u64> {
        let limit = |quota: u64, period: u64| quota.checked_mul(1000)?.checked_div(period);
        match self {
            Self::None => None,
            Self::V2(directories) => least(directories, |directory| {
                let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
                let (quota, period) = text.trim().split_once(' ')?;
                limit(quota.parse().ok()?, period.parse().ok()?)
            }),
            Self::V1 { cpu, .. } => least(cpu, |directory| {
                limit(number(&directory.join("cpu.cfs_quota_us"))?, number(&directory.join("cpu.cfs_period_us"))?)
            }),
        }
    }

    /// Bytes that the group may use.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let (directories, file) = match self {
            Self::None => return None,
            Self::V2(directories) => (directories, "memory.max"),
            Self::V1 { memory, .. } => (memory, "memory.limit_in_bytes"),
        };
        least(directories, |directory| number(&directory.join(file)).filter(|limit| *limit < NO_LIMIT))
    }

    /// Bytes that a limited group uses, without what the kernel can drop at once.
    pub(super) fn memory_used(&self) -> Option<u64> {
        self.memory_limit()?;
        let (directory, used, cache) = match self {
            Self::None => return None,
            Self::V2(directories) => (directories.first()?, "memory.current", "inactive_file"),
            Self::V1 { memory, .. } => (memory.first()?, "memory.usage_in_bytes", "total_inactive_file"),
        };
        let used = number(&directory.join(used))?;
        let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
        Some(used.saturating_sub(entry(&stat, cache).unwrap_or(0)))
    }

    /// Cpu time that a limited group has used.
    pub(super) fn cpu_used(&self) -> Option<Duration> {
        self.cpu_limit_millis()?;
        match self {
            Self::None => None,
            Self::V2(directories) => {
                let stat = fs::read_to_string(directories.first()?.join("cpu.stat")).ok()?;
                entry(&stat, "usage_usec").map(Duration::from_micros)
            }
            Self::V1 { cpuacct, .. } => number(&cpuacct.first()?.join("cpuacct.usage")).map(Duration::from_nanos),
        }
    }
}

/// The group's directory and those above it. Inside a container the path may be the host's, which is not there: then the
/// mount's root is the own group.
fn upwards(root: &Path, path: &str) -> Vec<PathBuf> {
    let own = root.join(path.trim_start_matches('/'));
    let directories = own.ancestors().take_while(|directory| directory.starts_with(root));
    directories.filter(|directory| directory.is_dir()).map(Path::to_owned).collect()
}

fn least(directories: &[PathBuf], limit: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    directories.iter().filter_map(|directory| limit(directory)).min()
}

/// `None` also for `max` and for negative numbers, which mean "no limit".
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn entry(stat: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    stat.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn v2_limits_are_the_least_of_the_group_and_those_above() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "cgroup.controllers", "cpu memory");
        write(root, "a/cpu.max", "150000 100000\n");
        write(root, "a/memory.max", "1000000\n");
        write(root, "a/b/cpu.max", "max 100000\n");
        write(root, "a/b/memory.max", "max\n");
        write(root, "a/b/memory.current", "5000\n");
        write(root, "a/b/memory.stat", "anon 1\ninactive_file 2000\n");
        write(root, "a/b/cpu.stat", "usage_usec 3000000\nuser_usec 1\n");
        let group = Cgroup::parse("0::/a/b\n", root);
        assert_eq!(group.cpu_limit_millis(), Some(1500));
        assert_eq!(group.memory_limit(), Some(1_000_000));
        assert_eq!(group.memory_used(), Some(3000));
        assert_eq!(group.cpu_used(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn v1_limits_in_a_container_that_does_not_see_its_path() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "cpu/cpu.cfs_quota_us", "50000\n");
        write(root, "cpu/cpu.cfs_period_us", "100000\n");
        write(root, "cpuacct/cpuacct.usage", "2000000000\n");
        write(root, "memory/memory.limit_in_bytes", "4096\n");
        write(root, "memory/memory.usage_in_bytes", "4000\n");
        write(root, "memory/memory.stat", "total_inactive_file 1000\n");
        let lines = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n";
        let group = Cgroup::parse(lines, root);
        assert_eq!(group.cpu_limit_millis(), Some(500));
        assert_eq!(group.memory_limit(), Some(4096));
        assert_eq!(group.memory_used(), Some(3000));
        assert_eq!(group.cpu_used(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn without_a_limit_the_group_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "cpu/cpu.cfs_quota_us", "-1\n");
        write(root, "cpu/cpu.cfs_period_us", "100000\n");
        write(root, "memory/memory.limit_in_bytes", "9223372036854771712\n");
        let group = Cgroup::parse("5:cpu,cpuacct:/\n4:memory:/\n", root);
        assert_eq!((group.cpu_limit_millis(), group.memory_limit(), group.memory_used()), (None, None, None));
        assert_eq!(Cgroup::parse("", root).cpu_limit_millis(), None);
    }
}
