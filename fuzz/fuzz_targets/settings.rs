#![no_main]
//! Configuration files of the three services.

libfuzzer_sys::fuzz_target!(|text: &str| davit_fuzz::bounded(|| {
    davit_cli::fuzzing::settings(text);
}));
