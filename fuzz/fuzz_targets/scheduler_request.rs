#![no_main]
//! Calls of SchedulerService, and whole placement streams.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_SCHEDULER_BYTES, || {
    scheduler_svc::fuzzing::request(bytes)
}));
