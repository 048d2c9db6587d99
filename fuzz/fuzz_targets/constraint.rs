#![no_main]
//! Constraint expressions, as users write them.

libfuzzer_sys::fuzz_target!(|text: &str| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    davit_proto::fuzzing::constraint(text);
}));
