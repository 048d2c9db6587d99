//! The seeds in `fuzz/corpus`, and small changes of them, so that ordinary tests run what fuzzers run: the same every time.
#![expect(clippy::expect_used, reason = "for tests alone: the seeds are a part of the project")]

use std::path::PathBuf;

/// How long the names are that a fuzzer gives to what it finds.
const FOUND_NAME_LEN: usize = 40;

fn directory(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// All seeds of a target, by name.
///
/// # Panics
/// When there are none, or they can't be read.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(directory(target)).expect("the corpus is a part of the project");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    // A fuzzer that ran here leaves thousands beside them, named by their hash.
    paths.retain(|path| path.file_name().is_some_and(|name| name.len() != FOUND_NAME_LEN));
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| std::fs::read(path).expect("a seed can be read")).collect();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

/// Writes a seed.
///
/// # Panics
/// When it can't be written.
pub fn write_seed(target: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(directory(target)).expect("the corpus can be written");
    std::fs::write(directory(target).join(name), bytes).expect("a seed is written");
}

/// Changes each seed so many times, and hands what comes of it to `check`.
pub fn for_each_mutation(seeds: &[Vec<u8>], times: usize, mut check: impl FnMut(&[u8])) {
    let mut dice = Dice(1);
    for seed in seeds {
        for _ in 0..times {
            let other = &seeds[dice.below(seeds.len())];
            check(&dice.mutate(seed, other));
        }
    }
}

/// Random numbers that are the same in every run: SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() as usize) % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// One to three small changes, as fuzzers make them: of a bit, a byte or a stretch, or a piece of another seed. Half of
    /// them leave the length as it is, or little would get past a decoder.
    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(10) {
                0..3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3..5 if at < bytes.len() => bytes[at] = self.byte(),
                5 => bytes.insert(at, self.byte()),
                6 => drop(bytes.drain(at..end)),
                7 => bytes = [&bytes[..end], &bytes[at..]].concat(),
                // Where lengths and numbers are: the largest ones.
                8 => drop(bytes.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0x0f])),
                _ => {
                    let from = self.below(other.len());
                    let to = (from + end - at).min(other.len());
                    bytes.splice(at..end, other[from..to].iter().copied());
                }
            }
        }
        bytes
    }
}
