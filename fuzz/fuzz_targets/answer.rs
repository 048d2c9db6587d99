#![no_main]
//! What a manager answers, as the command line shows it.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| davit_fuzz::bounded(davit_fuzz::MAX_BYTES, || {
    davit_cli::fuzzing::answer(bytes);
}));
