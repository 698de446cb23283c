#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdisp::fuzzing::judge::revocation_list(bytes));
