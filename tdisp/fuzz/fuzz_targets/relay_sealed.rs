#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdisp::fuzzing::messages::relay_sealed(bytes));
