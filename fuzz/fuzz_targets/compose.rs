#![no_main]
//! Compose files, environment files, and the texts in them.

libfuzzer_sys::fuzz_target!(|text: &str| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    davit_compose::fuzzing::project(text);
}));
