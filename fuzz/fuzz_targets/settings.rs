#![no_main]
//! Configuration files of the three services.

libfuzzer_sys::fuzz_target!(|text: &str| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    davit_cli::fuzzing::settings(text);
}));
