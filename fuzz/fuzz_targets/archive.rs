//! Fuzzes the file of an export.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::cli::fuzzing::fuzz_archive(data));
