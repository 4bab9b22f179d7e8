//! Fuzzes bodies of frames.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::api::fuzzing::fuzz_frames(data));
