//! Fuzzes the heads of blocks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::model::fuzzing::fuzz_block_head(data));
