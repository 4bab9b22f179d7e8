//! Fuzzes recovery of a segment whose checksums fit and whose content does not.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ensign::journal::fuzzing::fuzz_forged_segment(data));
