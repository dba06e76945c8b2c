//! See `bip324_fuzz::version`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bip324_fuzz::version::run(data));
