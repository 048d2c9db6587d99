//! The range of host ports that a node gives out by itself.

use std::fmt;
use std::str::FromStr;

/// Host ports `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text or a pair of numbers is no range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range of ports is written like 20000-31999, with 1 to 65535 and the lower one first")]
pub struct PortRangeError;

impl PortRange {
    /// Below what kernels use for outgoing connections (from 32768), above where services usually listen.
    pub const DEFAULT: Self = Self { first: 20_000, last: 31_999 };

    /// A range of at least one port.
    ///
    /// # Errors
    /// When `first` is 0 or above `last`.
    pub fn new(first: u16, last: u16) -> Result<Self, PortRangeError> {
        if first == 0 || first > last { Err(PortRangeError) } else { Ok(Self { first, last }) }
    }

    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many ports it has.
    #[must_use]
    pub fn size(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether a port is in it.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The part of it that is left to one of several workers on one machine, so that no two give the same port. Parts are of
    /// one size; what can't be divided is left over. `None` where there is no such part, or nothing to divide.
    #[must_use]
    pub fn part(self, index: u16, parts: u16) -> Option<Self> {
        if index >= parts {
            return None;
        }
        let size = u16::try_from(self.size() / u32::from(parts)).unwrap_or(u16::MAX);
        let first = self.first.checked_add(index.checked_mul(size)?)?;
        let last = first.checked_add(size.checked_sub(1)?)?;
        Some(Self { first, last })
    }

    /// Every port once, beginning somewhere in the range and going round.
    pub fn from_offset(self, offset: u64) -> impl Iterator<Item = u16> {
        let size = u64::from(self.size());
        (0..size).map(move |step| {
            let at = (offset % size + step) % size;
            self.first.saturating_add(u16::try_from(at).unwrap_or(0))
        })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').ok_or(PortRangeError)?;
        let number = |text: &str| text.trim().parse().map_err(|_| PortRangeError);
        Self::new(number(first)?, number(last)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_printed_as_it_is_read() {
        assert_eq!("20000-31999".parse(), Ok(PortRange::DEFAULT));
        assert_eq!(PortRange::DEFAULT.to_string(), "20000-31999");
        for wrong in ["", "5", "0-5", "9-8", "1-70000", "a-b", "1-2-3"] {
            assert_eq!(wrong.parse::<PortRange>(), Err(PortRangeError), "{wrong}");
        }
    }

    #[test]
    fn parts_share_no_port() {
        let parts: Vec<_> = (0..3).filter_map(|index| PortRange::DEFAULT.part(index, 3)).collect();
        let texts: Vec<_> = parts.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["20000-23999", "24000-27999", "28000-31999"]);
        let all = PortRange::new(1, u16::MAX).unwrap();
        assert_eq!(all.part(0, 1), Some(all));
        assert_eq!(all.part(1, 2).unwrap().to_string(), "32768-65534");
        assert_eq!(PortRange::new(5, 6).unwrap().part(0, 3), None, "nothing to divide");
        assert_eq!((all.part(3, 3), all.part(0, 0)), (None, None));
    }

    #[test]
    fn going_round_gives_every_port_once() {
        let range = PortRange::new(65_533, 65_535).unwrap();
        assert_eq!(range.from_offset(7).collect::<Vec<_>>(), [65_534, 65_535, 65_533]);
        assert_eq!(range.size(), 3);
    }
}
