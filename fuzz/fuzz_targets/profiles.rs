//! Fuzzes the file of profiles.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::credentials::fuzzing::fuzz_profiles(data));
