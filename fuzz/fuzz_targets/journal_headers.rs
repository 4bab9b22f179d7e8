//! Fuzzes the headers of frames and segments, and footers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::journal::fuzzing::fuzz_headers(data));
