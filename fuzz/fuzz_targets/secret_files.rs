//! Fuzzes the vault's file, and an SDK's.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::credentials::fuzzing::fuzz_secret_files(data));
