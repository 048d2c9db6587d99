#![no_main]
//! Calls of the manager's services for users, by the services' own methods.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    manager_svc::fuzzing::request(bytes)
}));
