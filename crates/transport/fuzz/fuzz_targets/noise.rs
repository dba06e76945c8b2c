//! See `bip324_fuzz::noise`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bip324_fuzz::noise::run(data));
