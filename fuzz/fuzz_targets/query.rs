//! Fuzzes EnSQL: what is read and what it gives.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::ensql::fuzzing::fuzz_query(data));
