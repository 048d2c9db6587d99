//! Which images are removed, and whether the disk is so full that what ended goes early. Pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// When images are removed. None is ever removed that a container uses or a task of this node needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From this share of the engine's disk on, images that are not used are removed, the longest unused first, and what ended
    /// attempts left. 100: never.
    pub high_percent: u8,
    /// Until the disk is no fuller than this.
    pub low_percent: u8,
    /// Images that were used or pulled since less than this stay, however full the disk is.
    pub min_age: Duration,
    /// Images that were not used for so long go, however empty the disk is. `None`: they stay.
    pub max_age: Option<Duration>,
    /// How long ended attempts stay at least, however full the disk is: somebody may want to know why they ended.
    pub min_ended_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            high_percent: 85,
            low_percent: 80,
            min_age: Duration::from_secs(600),
            max_age: None,
            min_ended_age: Duration::from_secs(60),
        }
    }
}

/// How full the file system is that holds an engine's images and containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Its size.
    pub total_bytes: u64,
    /// What of it is used.
    pub used_bytes: u64,
}

impl DiskUse {
    /// The share that is used, rounded down.
    #[must_use]
    pub fn percent(self) -> u8 {
        let percent = u128::from(self.used_bytes) * 100 / u128::from(self.total_bytes.max(1));
        u8::try_from(percent).unwrap_or(u8::MAX)
    }

    fn bytes_above(self, percent: u8) -> u64 {
        let allowed = u128::from(self.total_bytes) * u128::from(percent) / 100;
        self.used_bytes.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX))
    }
}

/// An image that this worker pulled and that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The engine's id of it.
    pub id: String,
    /// What it takes. Parts may be shared with other images, so less may become free.
    pub size_bytes: u64,
    /// Whether a container uses it, a task of this node needs it, or somebody gave it another name.
    pub in_use: bool,
    /// When it was pulled, or seen in use, whichever is later.
    pub last_used: Timestamp,
}

/// Why an image is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody used it for too long.
    Unused,
    /// The disk is too full.
    DiskFull,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unused => "unused",
            Self::DiskFull => "disk_full",
        })
    }
}

/// Whether the disk is so full that room is to be made.
#[must_use]
pub fn is_pressed(disk: Option<DiskUse>, limits: &Limits) -> bool {
    limits.high_percent < 100 && disk.is_some_and(|disk| disk.percent() >= limits.high_percent)
}

/// Which images are to be removed, in this order: what was not used for too long, and if the disk is too full, as many of the
/// longest unused as it takes.
#[must_use]
pub fn plan<'a>(images: &'a [Image], disk: Option<DiskUse>, limits: &Limits, now: Timestamp) -> Vec<(&'a Image, Why)> {
    let unused_for = |image: &Image| Duration::try_from(now.duration_since(image.last_used)).unwrap_or_default();
    let mut unused: Vec<&Image> =
        images.iter().filter(|image| !image.in_use && unused_for(image) >= limits.min_age).collect();
    unused.sort_unstable_by(|one, other| (one.last_used, &one.id).cmp(&(other.last_used, &other.id)));
    let pressed = disk.filter(|_| is_pressed(disk, limits));
    let mut excess = pressed.map_or(0, |disk| disk.bytes_above(limits.low_percent));
    let mut removed = Vec::new();
    for image in unused {
        let why = if limits.max_age.is_some_and(|max_age| unused_for(image) >= max_age) {
            Why::Unused
        } else if excess > 0 {
            Why::DiskFull
        } else {
            break;
        };
        excess = excess.saturating_sub(image.size_bytes);
        removed.push((image, why));
    }
    removed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_000_000;
    const LIMITS: Limits = Limits {
        high_percent: 85,
        low_percent: 80,
        min_age: Duration::from_secs(60),
        max_age: Some(Duration::from_secs(5000)),
        min_ended_age: Duration::ZERO,
    };

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn unused(id: &str, seconds: i64) -> Image {
        let last_used = Timestamp::from_second(NOW - seconds).unwrap();
        Image { id: id.to_owned(), size_bytes: 3, in_use: false, last_used }
    }

    fn full(percent: u64) -> Option<DiskUse> {
        Some(DiskUse { total_bytes: 100, used_bytes: percent })
    }

    fn planned(images: &[Image], disk: Option<DiskUse>) -> Vec<(&str, Why)> {
        plan(images, disk, &LIMITS, now()).into_iter().map(|(image, why)| (image.id.as_str(), why)).collect()
    }

    #[test]
    fn a_full_disk_takes_the_longest_unused_first_and_no_more_than_it_needs() {
        let images = [unused("new", 100), unused("old", 300), unused("middle", 200), unused("just", 59)];
        assert_eq!(planned(&images, full(85)), [("old", Why::DiskFull), ("middle", Why::DiskFull)]);
        assert_eq!(planned(&images, full(84)), [], "it is not full enough to begin");
        assert_eq!(planned(&images, full(99)).len(), 3, "what was used a moment ago stays all the same");
        assert_eq!(planned(&images, None), [], "nobody knows how full it is");
        let never = Limits { high_percent: 100, low_percent: 0, ..LIMITS };
        assert_eq!(plan(&images, full(100), &never, now()), []);
    }

    #[test]
    fn what_nobody_used_for_long_goes_also_from_an_empty_disk() {
        let images = [unused("a", 4999), unused("b", 5000), Image { in_use: true, ..unused("c", 9000) }];
        assert_eq!(planned(&images, full(0)), [("b", Why::Unused)]);
        assert_eq!(plan(&images, full(0), &Limits { max_age: None, ..LIMITS }, now()), []);
    }

    #[test]
    fn a_clock_that_was_set_back_removes_nothing() {
        assert_eq!(planned(&[unused("a", -9000)], full(99)), []);
    }

    fn image() -> impl Strategy<Value = Image> {
        ("[a-f]{3}", 0u64..50, any::<bool>(), -100i64..9000).prop_map(|(id, size_bytes, in_use, seconds)| Image {
            size_bytes,
            in_use,
            ..unused(&id, seconds)
        })
    }

    proptest! {
        /// Whatever the disk: never a used image, never a young one, and nothing without a reason.
        #[test]
        fn never_a_used_image(
            images in prop::collection::vec(image(), 0..20),
            disk in prop::option::of(0u64..120),
            (high_percent, low_percent) in (0u8..=100, 0u8..=100),
            max_age in prop::option::of(0u64..9000),
        ) {
            let max_age = max_age.map(Duration::from_secs);
            let limits = Limits { high_percent, low_percent, max_age, ..LIMITS };
            let disk = disk.map(|used_bytes| DiskUse { total_bytes: 100, used_bytes });
            let planned = plan(&images, disk, &limits, now());
            for (image, why) in &planned {
                let age = now().duration_since(image.last_used).as_secs();
                prop_assert!(!image.in_use && age >= 60, "{image:?}");
                match why {
                    Why::Unused => prop_assert!(max_age.is_some_and(|max_age| age as u64 >= max_age.as_secs())),
                    Why::DiskFull => prop_assert!(is_pressed(disk, &limits)),
                }
            }
            // Nothing that stays, and might go, was unused for longer.
            let youngest = planned.iter().map(|(image, _)| image.last_used).max();
            let gone = |image: &Image| planned.iter().any(|(one, _)| std::ptr::eq(*one, image));
            for image in images.iter().filter(|image| !image.in_use && !gone(image)) {
                prop_assert!(youngest.is_none_or(|youngest| image.last_used >= youngest));
            }
            // One less would not have been enough.
            if let Some((last, Why::DiskFull)) = planned.last() {
                let freed: u64 = planned.iter().map(|(image, _)| image.size_bytes).sum();
                let excess = disk.map_or(0, |disk| disk.bytes_above(low_percent));
                prop_assert!(freed - last.size_bytes < excess, "{freed} {excess}");
            }
        }
    }
}
