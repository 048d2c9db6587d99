//! The fuzz targets on their seeds, and on mutations of them that are the same every time.

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use prost::Message as _;

use super::placement_garbage::request;
use crate::fuzzing::corpus::{for_each_mutation, seeds, write_seed};
use crate::{fuzzing, v1};

/// How often each seed is mutated.
const MUTATIONS: usize = 400;
/// How many seeds of requests are written.
const SEEDS: usize = 16;

#[test]
fn every_seed_of_requests_is_accepted_and_no_mutation_breaks_a_promise() {
    let seeds = seeds("place_request");
    for seed in &seeds {
        let request = v1::PlaceRequest::decode(seed.as_slice()).expect("a seed is a request");
        assert!(fuzzing::check_place_request(request.clone()), "refused: {request:?}");
    }
    let mut decoded = 0;
    for_each_mutation(&seeds, MUTATIONS, |bytes| {
        decoded += usize::from(v1::PlaceRequest::decode(bytes).is_ok());
        fuzzing::place_request(bytes);
    });
    let tried = seeds.len() * MUTATIONS;
    assert!(decoded > tried / 20, "only {decoded} of {tried} mutations get past the decoder");
}

#[test]
fn no_mutation_of_a_constraint_breaks_a_promise() {
    let seeds = seeds("constraint");
    let mut accepted = 0;
    for_each_mutation(&seeds, MUTATIONS, |bytes| {
        accepted += usize::from(fuzzing::constraint(&String::from_utf8_lossy(bytes)));
    });
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
        write_seed("place_request", &format!("seed-{written:02}"), &bytes);
    }
}
