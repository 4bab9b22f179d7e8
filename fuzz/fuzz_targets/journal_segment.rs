//! Fuzzes recovery of arbitrary bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::journal::fuzzing::fuzz_segment(data));
