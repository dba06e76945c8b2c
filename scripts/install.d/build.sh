# shellcheck shell=bash disable=SC2154
# Builds the programs. Sourced by scripts/install.

build() {
    if command -v apt-get >/dev/null; then
        bash "$root/scripts/get" build
        give_back
    fi
    find_rust || die 69 "Rust $rust_needed or newer is needed: https://rustup.rs"
    local tool
    for tool in cc pkg-config; do
        command -v "$tool" >/dev/null || die 69 "$tool is needed to build"
    done
    pkg-config --exists libnftnl libmnl || die 69 'the headers of libnftnl and libmnl are needed to build'
    say "building, as $(builder): this takes some minutes"
    as_builder cargo build --release --locked --manifest-path "$root/Cargo.toml" \
        -p bip324-proxy -p bip324-setup -p bip324-ctl -p bip324-manual
}

# Whoever called sudo, where the checkout is theirs to write to.
builder() {
    local user=${SUDO_USER:-root}
    if [[ $user != root ]] && runuser -u "$user" -- test -w "$root"; then
        printf '%s\n' "$user"
    else
        printf 'root\n'
    fi
}

as_builder() {
    local user home
    user=$(builder)
    if [[ $user == root ]]; then
        "$@"
    else
        home=$(getent passwd "$user" | cut -d : -f 6)
        runuser -u "$user" -- env HOME="$home" PATH="$PATH" "$@"
    fi
}

# What root built, in a checkout that may be another user's.
give_back() {
    [[ ! -d $root/target ]] || chown -R --reference="$root" "$root/target"
}
