# shellcheck shell=bash disable=SC2154
# What builds the Debian package, and what it is checked with. Sourced by scripts/get.

# Where Debian itself has none, which is before 13.
cargo_auditable_version=0.7.7

get_debian() {
    apt_need build-essential debhelper dh-apparmor git libmnl-dev libnftnl-dev pkgconf ca-certificates
    get_rust
    get_cargo_auditable
    # The package is installed beside this system: what it depends on has to be here.
    apt_need binutils lintian nftables perl sudo
    command -v systemd-sysusers >/dev/null || apt_need systemd-standalone-sysusers
    say "debian: here"
}

get_cargo_auditable() {
    if apt-cache show cargo-auditable >/dev/null 2>&1 && [[ $(command -v cargo) == /usr/bin/cargo ]]; then
        apt_need cargo-auditable
    else
        install_once cargo-auditable "$cargo_auditable_version" build_cargo_auditable
    fi
}

build_cargo_auditable() {
    cargo_install cargo-auditable cargo-auditable cargo-auditable --version "$cargo_auditable_version"
}
