#![no_main]
//! Answers of a placement stream, as the manager reads and commits them.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    manager_svc::fuzzing::answer(bytes)
}));
