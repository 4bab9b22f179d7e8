//! Fuzzes the indices of segments.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::journal::fuzzing::fuzz_index(data));
