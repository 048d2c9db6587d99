#![no_main]
//! Records of the manager's store.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(
    davit_fuzz::MAX_BYTES,
    || manager_svc::fuzzing::record(bytes)
));
