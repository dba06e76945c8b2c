//! See `bip324_fuzz::contents`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bip324_fuzz::contents::run(data));
