# shellcheck shell=bash disable=SC2154
# The clients written in Rust, and cargo-deny. Sourced by scripts/get.

# The last cargo-deny that Rust 1.85 builds.
cargo_deny_version=0.18.3

get_cargo_deny() {
    install_once cargo-deny "$cargo_deny_version" build_cargo_deny
}

# Unoptimised it is built in a quarter of the time, and fast enough.
build_cargo_deny() {
    CARGO_PROFILE_DEV_DEBUG=0 cargo_install cargo-deny cargo-deny \
        cargo-deny --version "$cargo_deny_version" --debug
}

get_nakamoto() {
    install_once nakamoto 0.4.0 build_nakamoto
}

build_nakamoto() {
    cargo_install nakamoto nakamoto-node nakamoto-node --version 0.4.0
}

get_kyoto() {
    install_once kyoto "$(fingerprint "$clients"/kyoto/{Cargo.toml,Cargo.lock,src/main.rs})" build_kyoto
}

build_kyoto() {
    cargo_install kyoto kyoto-sync --path "$clients/kyoto"
}

# cargo_install NAME PROGRAM ARGUMENT...: cargo install, with everything below $real.
cargo_install() {
    local name=$1 program=$2
    shift 2
    find_rust || die "$name needs cargo $rust_needed or newer: run scripts/get rust first"
    quietly "$name" cargo install "$@" --locked --root "$real/$name" --target-dir "$real/build/$name"
    rm -rf "$real/build/$name"
    wrapper "$program" "@/$name/bin/$program"
}
