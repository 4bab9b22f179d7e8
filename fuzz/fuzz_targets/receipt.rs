//! Fuzzes receipts, by which a server tells a member of a consumer group what became of its acks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::api::fuzzing::fuzz_receipt(data));
