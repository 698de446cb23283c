#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdisp::fuzzing::askers::ide_km_requester(bytes));
