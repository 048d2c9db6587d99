#![no_main]
//! Values on the command line and in configuration files.

libfuzzer_sys::fuzz_target!(|text: &str| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    davit_cli::fuzzing::argument(text);
}));
