//! Fuzzes queries.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::ensql::fuzzing::fuzz_range(data));
