//! Fuzzes acks and nacks, and what else a subscriber says.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::api::fuzzing::fuzz_subscribe_request(data));
