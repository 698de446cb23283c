#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdisp::fuzzing::messages::secured_record(bytes));
