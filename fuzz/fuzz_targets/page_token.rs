//! Fuzzes page tokens.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::broker::fuzzing::fuzz_page_token(data));
