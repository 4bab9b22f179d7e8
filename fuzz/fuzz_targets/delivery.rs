//! Fuzzes deliveries, as a subscriber takes them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::client::fuzzing::fuzz_delivery(data));
