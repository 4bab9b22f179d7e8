//! Fuzzes the data of events of all media types.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::ensql::fuzzing::fuzz_data(data));
