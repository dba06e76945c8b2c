# shellcheck shell=bash disable=SC2154
# What makes a release, beside the Debian that its packages are built in. Sourced by scripts/get.

cargo_cyclonedx_version=0.5.9

get_release() {
    apt_need mmdebstrap binutils jq perl
    get_rust
    install_once cargo-cyclonedx "$cargo_cyclonedx_version" build_cargo_cyclonedx
}

build_cargo_cyclonedx() {
    CARGO_PROFILE_DEV_DEBUG=0 cargo_install cargo-cyclonedx cargo-cyclonedx \
        cargo-cyclonedx --version "$cargo_cyclonedx_version" --debug
}
