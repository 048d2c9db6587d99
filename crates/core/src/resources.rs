//! Amounts of cpu, memory and disk, and arithmetic that can't wrap.

use std::fmt;

/// Amounts of what a node has and a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Resources {
    /// Thousandths of one core: 1500 is one and a half cores.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk.
    pub disk_bytes: u64,
}

impl Resources {
    /// Nothing of anything.
    pub const ZERO: Self = Self { cpu_millis: 0, memory_bytes: 0, disk_bytes: 0 };

    /// The sum; stops at the largest number instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(other.disk_bytes),
        }
    }

    /// The difference; stops at zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_sub(other.disk_bytes),
        }
    }

    /// The smaller amount of each dimension.
    #[must_use]
    pub fn min_of_each(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.min(other.cpu_millis),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            disk_bytes: self.disk_bytes.min(other.disk_bytes),
        }
    }

    /// The larger amount of each dimension.
    #[must_use]
    pub fn max_of_each(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            disk_bytes: self.disk_bytes.max(other.disk_bytes),
        }
    }

    /// Whether `self` fits into `free` in every dimension.
    #[must_use]
    pub fn fits_in(self, free: Self) -> bool {
        self.cpu_millis <= free.cpu_millis
            && self.memory_bytes <= free.memory_bytes
            && self.disk_bytes <= free.disk_bytes
    }
}

/// What the scheduler sets aside for a task and what the runtime enforces on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResourceRequirements {
    /// Set aside on the node by the scheduler. Zero sets nothing aside.
    pub reservation: Resources,
    /// Enforced by the runtime. Zero in a dimension means no limit in it.
    pub limit: Resources,
}

/// Bytes for people: `1.5 GiB`.
#[derive(Debug, Clone, Copy)]
pub struct HumanBytes(pub u64);

impl fmt::Display for HumanBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// Cores for people: `1.5`.
#[derive(Debug, Clone, Copy)]
pub struct HumanCpus(pub u64);

impl fmt::Display for HumanCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_fits_only_when_every_dimension_fits() {
        let free = Resources { cpu_millis: 1000, memory_bytes: 100, disk_bytes: 100 };
        assert!(free.fits_in(free));
        assert!(!Resources { disk_bytes: 101, ..Resources::ZERO }.fits_in(free));
        assert!(!Resources { cpu_millis: 1001, ..Resources::ZERO }.fits_in(free));
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(HumanBytes(512).to_string(), "512 B");
        assert_eq!(HumanBytes(2 << 30).to_string(), "2.0 GiB");
        assert_eq!(HumanBytes((1 << 30) - 1).to_string(), "1.0 GiB");
        assert_eq!(HumanCpus(1500).to_string(), "1.5");
        assert_eq!(HumanCpus(2000).to_string(), "2");
    }
}
