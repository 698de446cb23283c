#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdisp::fuzzing::judge::public_key(bytes));
