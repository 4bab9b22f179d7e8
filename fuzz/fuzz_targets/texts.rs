//! Fuzzes positions, times, identifiers and names.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::model::fuzzing::fuzz_texts(data));
