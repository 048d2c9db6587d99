//! Numbers of several nodes side by side, dimension by dimension, so that a processor works on several at once.

use davit_core::resources::Resources;

use super::score::Parts;

/// How many nodes, rows or blocks stand side by side.
pub(super) const WIDTH: usize = 16;

/// One number of each.
pub(super) type Lanes = [f64; WIDTH];

/// The four numbers that an algorithm keeps of each; not a number where there is none.
pub(super) type Numbers = [Lanes; 4];

/// Numbers of nothing.
pub(super) const NOTHING: Numbers = [[f64::NAN; WIDTH]; 4];

/// The numbers in one lane.
#[inline(always)]
pub(super) fn lane(numbers: &Numbers, lane: usize) -> Parts {
    [numbers[0][lane], numbers[1][lane], numbers[2][lane], numbers[3][lane]]
}

/// Sets the numbers in one lane.
pub(super) fn set_lane(numbers: &mut Numbers, lane: usize, parts: Parts) {
    for (lanes, part) in numbers.iter_mut().zip(parts) {
        lanes[lane] = part;
    }
}

/// The least and the greatest of each number, whatever stands in lanes that hold nothing.
pub(super) fn extent(numbers: &Numbers) -> (Parts, Parts) {
    // Comparisons with what is no number are false.
    let least =
        |lanes: &Lanes| lanes.iter().fold(f64::INFINITY, |least, next| if *next < least { *next } else { least });
    let most =
        |lanes: &Lanes| lanes.iter().fold(f64::NEG_INFINITY, |most, next| if *next > most { *next } else { most });
    let each = |of: &dyn Fn(&Lanes) -> f64| [of(&numbers[0]), of(&numbers[1]), of(&numbers[2]), of(&numbers[3])];
    (each(&least), each(&most))
}

/// What is left of each: cpu, memory and disk. An amount above 2^53 loses its last digits, always in the same direction
/// for the same amounts; so what fits never seems not to, and whoever takes a node looks at the exact amounts again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room([Lanes; 3]);

impl Room {
    /// Nothing fits in any.
    pub(super) const NONE: Self = Self([[-1.0; WIDTH]; 3]);

    pub(super) fn set(&mut self, lane: usize, free: [f64; 3]) {
        for (lanes, amount) in self.0.iter_mut().zip(free) {
            lanes[lane] = amount;
        }
    }

    /// The most that is left of any, each dimension by itself.
    pub(super) fn most(&self) -> [f64; 3] {
        self.0.map(|lanes| lanes.into_iter().fold(-1.0, |most, next| if next > most { next } else { most }))
    }

    /// The same without those in which the amounts don't fit.
    pub(super) fn without_less_than(mut self, needed: [f64; 3]) -> Self {
        let room = self;
        for lanes in &mut self.0 {
            room.replace(lanes, needed, -1.0);
        }
        self
    }

    /// A bit for each in which the amounts fit.
    #[inline(always)]
    pub(super) fn holding(&self, needed: [f64; 3]) -> u16 {
        let [cpu, memory, disk] = &self.0;
        (0..WIDTH).fold(0, |bits, lane| {
            let fits = (cpu[lane] >= needed[0]) & (memory[lane] >= needed[1]) & (disk[lane] >= needed[2]);
            bits | u16::from(fits) << lane
        })
    }

    /// Replaces what stands in lanes in which the amounts don't fit.
    #[inline(always)]
    pub(super) fn replace(&self, lanes: &mut Lanes, needed: [f64; 3], by: f64) {
        let [cpu, memory, disk] = &self.0;
        for (lane, value) in lanes.iter_mut().enumerate() {
            let fits = (cpu[lane] >= needed[0]) & (memory[lane] >= needed[1]) & (disk[lane] >= needed[2]);
            *value = if fits { *value } else { by };
        }
    }
}

/// Amounts as they stand in lanes.
pub(super) fn amounts(resources: Resources) -> [f64; 3] {
    [resources.cpu_millis as f64, resources.memory_bytes as f64, resources.disk_bytes as f64]
}

/// Whether what holds these amounts in lanes holds them to the last byte: no digit of them is lost.
pub(super) fn is_exact(resources: Resources) -> bool {
    const MOST: u64 = 1 << 53;
    let Resources { cpu_millis, memory_bytes, disk_bytes } = resources;
    cpu_millis <= MOST && memory_bytes <= MOST && disk_bytes <= MOST
}

/// The lanes whose bits are set.
pub(super) fn bits(mut bits: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (lane < WIDTH).then_some(lane)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_hold_nothing_have_no_say() {
        let mut numbers = NOTHING;
        set_lane(&mut numbers, 3, [1.0, -2.0, 3.0, 0.0]);
        set_lane(&mut numbers, 9, [2.0, -3.0, 3.0, 0.0]);
        assert_eq!(extent(&numbers), ([1.0, -3.0, 3.0, 0.0], [2.0, -2.0, 3.0, 0.0]));
        assert_eq!(lane(&numbers, 9), [2.0, -3.0, 3.0, 0.0]);
    }

    #[test]
    fn what_does_not_fit_is_replaced() {
        let mut room = Room::NONE;
        room.set(0, [1.0, 1.0, 0.0]);
        room.set(1, [1.0, 2.0, 0.0]);
        let mut costs = [5.0; WIDTH];
        room.replace(&mut costs, [1.0, 2.0, 0.0], f64::INFINITY);
        assert_eq!(costs[..3], [f64::INFINITY, 5.0, f64::INFINITY]);
        assert_eq!(room.holding([1.0, 2.0, 0.0]), 0b10);
        assert_eq!(room.most(), [1.0, 2.0, 0.0]);
        assert_eq!(room.without_less_than([1.5, 0.0, 0.0]).most(), [-1.0; 3]);
    }

    #[test]
    fn an_amount_beyond_the_digits_of_a_float_never_seems_to_be_missing() {
        let amount = |bytes| amounts(Resources { memory_bytes: bytes, ..Resources::ZERO })[1];
        for bytes in [(1 << 53) + 1, u64::MAX - 1, u64::MAX] {
            assert!(amount(bytes) >= amount(bytes - 1));
        }
    }

    #[test]
    fn bits_are_told_in_order() {
        assert_eq!(bits(0b1000_0000_0010_0001).collect::<Vec<_>>(), [0, 5, 15]);
        assert_eq!(bits(0).count(), 0);
        assert_eq!(bits(u16::MAX).count(), WIDTH);
    }
}
