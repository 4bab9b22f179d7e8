//! Fuzzes acks, and what else a server says to a publisher.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::api::fuzzing::fuzz_publisher_reply(data));
