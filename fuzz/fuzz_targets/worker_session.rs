#![no_main]
//! What a worker sends on its session, and on the call that brings output.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    manager_svc::fuzzing::session(bytes)
}));
