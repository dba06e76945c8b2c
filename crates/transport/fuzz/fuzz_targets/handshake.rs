//! See `bip324_fuzz::handshake`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bip324_fuzz::handshake::run(data));
