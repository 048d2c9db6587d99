#![no_main]
//! What a worker and the supervisors of its processes keep on disk and say to each other.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || worker_svc::fuzzing::record(
    bytes
)));
