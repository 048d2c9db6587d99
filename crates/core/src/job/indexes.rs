//! Sets of indexes, kept as ranges: a job of a hundred thousand indexes that end more or less in order takes a few of them.

use std::collections::BTreeMap;

/// Some indexes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Indexes {
    /// First to last of each range. They neither meet nor touch.
    ranges: BTreeMap<u32, u32>,
    count: u32,
}

impl Indexes {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this one is there.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.ranges.range(..=index).next_back().is_some_and(|(_, last)| *last >= index)
    }

    /// Adds one. Whether it was not there before.
    pub fn insert(&mut self, index: u32) -> bool {
        if self.contains(index) {
            return false;
        }
        let before = self.ranges.range(..index).next_back().map(|(first, last)| (*first, *last));
        let touching = before.filter(|(_, last)| last.checked_add(1) == Some(index));
        let first = touching.map_or(index, |(first, _)| first);
        let next = index.checked_add(1);
        let last = next.and_then(|next| self.ranges.remove(&next)).unwrap_or(index);
        self.ranges.insert(first, last);
        self.count += 1;
        true
    }

    /// First to last of each range, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// Reads ranges; `None` if they are not in order, meet or touch, or have more than `u32::MAX` indexes in all.
    #[must_use]
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Option<Self> {
        let mut read = Self::default();
        let mut free_from = Some(0);
        for (first, last) in ranges {
            if first > last || free_from.is_none_or(|from| first < from) {
                return None;
            }
            read.count = read.count.checked_add((last - first).checked_add(1)?)?;
            read.ranges.insert(first, last);
            free_from = last.checked_add(2);
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_and_its_ranges_say_all_of_it(inserts in prop::collection::vec(0u32..40, 0..60)) {
            let (mut indexes, mut model) = (Indexes::default(), BTreeSet::new());
            for index in inserts {
                prop_assert_eq!(indexes.insert(index), model.insert(index));
                prop_assert_eq!(indexes.count() as usize, model.len());
            }
            for index in 0..42 {
                prop_assert_eq!(indexes.contains(index), model.contains(&index));
            }
            let ranges: Vec<_> = indexes.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", ranges);
            prop_assert_eq!(Indexes::from_ranges(ranges), Some(indexes));
        }
    }

    #[test]
    fn the_last_index_of_all_is_one_like_any_other() {
        let mut indexes = Indexes::default();
        assert!(indexes.insert(u32::MAX) && indexes.insert(u32::MAX - 1) && !indexes.insert(u32::MAX));
        assert_eq!(indexes.ranges().collect::<Vec<_>>(), [(u32::MAX - 1, u32::MAX)]);
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        for bad in [vec![(2, 1)], vec![(0, 3), (3, 4)], vec![(0, 3), (4, 5)], vec![(5, 6), (0, 1)], vec![(0, u32::MAX)]]
        {
            assert_eq!(Indexes::from_ranges(bad.clone()), None, "{bad:?}");
        }
    }
}
