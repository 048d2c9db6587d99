#![no_main]
//! The request decoder: bytes as a client of `SchedulerService/Place` may send them.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    davit_proto::fuzzing::place_request(bytes)
}));
