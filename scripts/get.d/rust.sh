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

# Debian 13 has what is needed, Debian 12 does not.
debian_rust() {
    local version
    apt_update
    version=$(apt-cache show --no-all-versions cargo 2>/dev/null | sed -n 's/^Version: //p')
    dpkg --compare-versions "${version:-0}" ge "$rust_needed" ||
        die "Rust $rust_needed or newer is needed, and this Debian's own is ${version:-missing}." \
            "Install it with rustup (https://rustup.rs), or use Debian 13 or newer"
    apt_need cargo rustc
}

rust_components() {
    if [[ $(command -v cargo) == /usr/bin/cargo ]]; then
        apt_need rustfmt rust-clippy
    elif command -v rustup >/dev/null; then
        quietly rust rustup component add rustfmt clippy
    else
        die "cargo fmt or cargo clippy is missing: install both beside $(command -v cargo)"
    fi
}
