//! Runs every committed corpus through its target, on stable Rust.

#![cfg(test)]

use std::fs;
use std::path::Path;

use bip324_fuzz::TARGETS;

/// A failed assertion says what broke; the last file that was printed is the input.
fn replay(name: &str) {
    let (_, run) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut replayed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 10, "{replayed} files are no corpus");
}

#[test]
fn i7_contents() {
    replay("contents");
}

#[test]
fn i7_handshake() {
    replay("handshake");
}

#[test]
fn i7_noise() {
    replay("noise");
}

#[test]
fn i7_policy() {
    replay("policy");
}

#[test]
fn i7_session() {
    replay("session");
}

#[test]
fn i7_v1() {
    replay("v1");
}

#[test]
fn i7_version() {
    replay("version");
}

#[test]
fn i7_every_program_has_its_target_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut programs: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort();
    assert_eq!(programs, TARGETS.map(|(name, _)| name));
}
