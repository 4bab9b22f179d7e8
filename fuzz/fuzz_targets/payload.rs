//! Fuzzes the inside of blocks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::engine::fuzzing::fuzz_payload(data));
