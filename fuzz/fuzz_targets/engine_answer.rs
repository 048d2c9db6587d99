#![no_main]
//! What a Docker engine answers, as the worker reads it.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    worker_svc::fuzzing::engine_answer(bytes)
}));
