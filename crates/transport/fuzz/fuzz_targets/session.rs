//! See `bip324_fuzz::session`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bip324_fuzz::session::run(data));
