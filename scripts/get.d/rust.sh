# shellcheck shell=bash disable=SC2154
# The Rust tools. find_rust stands on its own, for the other scripts to source.

rust_needed=1.85

# Succeeds with a cargo that is new enough on PATH. One that rustup installed is put there if
# need be: sudo drops ~/.cargo/bin, and root runs the toolchain of the user that called sudo.
find_rust() {
    local home
    rust_is_new && return
    for home in ~ "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
        if [[ -x $home/.cargo/bin/cargo ]]; then
            export PATH=$home/.cargo/bin:$PATH RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
            rust_is_new && return
        fi
    done
    return 1
}

rust_is_new() {
    local version
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2)
    printf '%s\n' "$rust_needed" "${version:-0}" | sort -V -C
}

get_rust() {
    find_rust || debian_rust
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        rust_components
    fi
    say "rust: $(cargo --version)"
}

# Debian 13's own is new enough; Debian 12 has a newer one, which its web browsers are built with.
debian_rust() {
    local suffix
    apt_update
    for suffix in '' -web; do
        if debian_has_rust "cargo$suffix"; then
            apt_need "cargo$suffix" "rustc$suffix"
            return
        fi
    done
    die "Rust $rust_needed or newer is needed, and this Debian has none. Install it with rustup" \
        "(https://rustup.rs), or use Debian 12 or newer"
}

debian_has_rust() {
    local version
    version=$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p')
    dpkg --compare-versions "${version:-0}" ge "$rust_needed"
}

rust_components() {
    if [[ $(command -v cargo) == /usr/bin/cargo ]]; then
        if [[ -z $(apt_missing cargo-web) ]]; then
            apt_need rustfmt-web rust-web-clippy
        else
            apt_need rustfmt rust-clippy
        fi
    elif command -v rustup >/dev/null; then
        quietly rust rustup component add rustfmt clippy
    else
        die "cargo fmt or cargo clippy is missing: install both beside $(command -v cargo)"
    fi
}
