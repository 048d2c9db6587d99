#![no_main]
//! Recordings of placement streams, as `davit-scheduler replay` reads them.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    scheduler_svc::fuzzing::recording(bytes)
}));
