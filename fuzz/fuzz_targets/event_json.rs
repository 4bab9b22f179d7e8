//! Fuzzes the data of events that say to be JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::ensql::fuzzing::fuzz_json(data));
