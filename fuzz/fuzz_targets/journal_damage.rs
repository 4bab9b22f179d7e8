//! Fuzzes recovery of a segment that is damaged.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::journal::fuzzing::fuzz_damage(data));
