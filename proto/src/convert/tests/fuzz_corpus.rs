//! The fuzz targets on their seeds, and on mutations of them that are the same every time.

use std::path::PathBuf;

use proptest::prelude::Rng as _;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use prost::Message as _;

use super::placement_garbage::request;
use crate::{fuzzing, v1};

/// How often each seed is mutated.
const MUTATIONS: usize = 400;
/// How long the names are that a fuzzer gives to what it finds.
const FOUND_NAME_LEN: usize = 40;
/// How many seeds of requests are written.
const SEEDS: usize = 16;

fn directory(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// All seeds of a target, by name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(directory(target)).expect("the corpus is a part of the project");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    // A fuzzer that ran here leaves thousands beside them, named by their hash.
    paths.retain(|path| path.file_name().is_some_and(|name| name.len() != FOUND_NAME_LEN));
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| std::fs::read(path).expect("a seed can be read")).collect();
    assert!(seeds.len() >= SEEDS, "{target}: only {} seeds", seeds.len());
    seeds
}

/// Random numbers that are the same in every run.
struct Dice(TestRng);

impl Dice {
    fn new() -> Self {
        Self(TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = self.0.next_u64() % u64::try_from(bound.max(1)).expect("a bound is a small number");
        usize::try_from(number).expect("it is below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.0.next_u32().to_le_bytes()[0]
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

fn for_each_mutation(seeds: &[Vec<u8>], mut check: impl FnMut(Vec<u8>)) {
    let mut dice = Dice::new();
    for seed in seeds {
        for _ in 0..MUTATIONS {
            let other = &seeds[dice.below(seeds.len())];
            check(dice.mutate(seed, other));
        }
    }
}

#[test]
fn every_seed_of_requests_is_accepted_and_no_mutation_breaks_a_promise() {
    let seeds = corpus("place_request");
    for seed in &seeds {
        let request = v1::PlaceRequest::decode(seed.as_slice()).expect("a seed is a request");
        assert!(fuzzing::check_place_request(request.clone()), "refused: {request:?}");
    }
    let mut decoded = 0;
    for_each_mutation(&seeds, |bytes| {
        decoded += usize::from(v1::PlaceRequest::decode(bytes.as_slice()).is_ok());
        fuzzing::place_request(&bytes);
    });
    let tried = seeds.len() * MUTATIONS;
    assert!(decoded > tried / 20, "only {decoded} of {tried} mutations get past the decoder");
}

#[test]
fn no_mutation_of_a_constraint_breaks_a_promise() {
    let seeds = corpus("constraint");
    let mut accepted = 0;
    for_each_mutation(&seeds, |bytes| accepted += usize::from(fuzzing::constraint(&String::from_utf8_lossy(&bytes))));
    let tried = seeds.len() * MUTATIONS;
    assert!(accepted > tried / 20, "only {accepted} of {tried} mutations are constraints");
}

#[test]
#[ignore = "writes fuzz/corpus/place_request; after a change of the messages"]
fn the_seeds_are_written() {
    let mut runner = TestRunner::deterministic();
    let strategy = request(0);
    let mut written = 0;
    while written < SEEDS {
        let request = strategy.new_tree(&mut runner).expect("the strategy has values").current();
        let bytes = request.encode_to_vec();
        // Of the many small ones a few are enough.
        if bytes.len() < 100 + 20 * written || !fuzzing::check_place_request(request) {
            continue;
        }
        written += 1;
        std::fs::write(directory("place_request").join(format!("seed-{written:02}")), bytes)
            .expect("a seed is written");
    }
}
