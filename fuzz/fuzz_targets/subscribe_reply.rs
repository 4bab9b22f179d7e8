//! Fuzzes deliveries, and what else a server says to a subscriber.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::api::fuzzing::fuzz_subscribe_reply(data));
