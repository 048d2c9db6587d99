#![no_main]
//! Records of the manager's store.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(|| manager_svc::fuzzing::record(bytes)));
