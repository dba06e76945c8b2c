//! See `bip324_fuzz::v1`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bip324_fuzz::v1::run(data));
