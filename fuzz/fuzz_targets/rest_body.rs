//! Fuzzes the bodies of REST requests.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::server::fuzzing::fuzz_rest_body(data));
