#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vgan_fuzz::run("png", bytes));
