#![no_main]
//! What the manager sends on a session, as the worker reads it, and calls of WorkerService.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(
    davit_fuzz::MAX_BYTES,
    || worker_svc::fuzzing::message(bytes)
));
