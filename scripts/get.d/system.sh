# shellcheck shell=bash
# What comes from Debian as it is: for building, for tests in network namespaces, for checks of
# the scripts, man pages and completions. Sourced by scripts/get.

get_build() {
    apt_need build-essential pkg-config libmnl-dev libnftnl-dev ca-certificates
    find_rust || debian_rust
    say "build: here, with $(cargo --version)"
}

get_base() {
    apt_need build-essential pkg-config libmnl-dev libnftnl-dev ca-certificates \
        nftables iproute2 conntrack tcpdump procps util-linux passwd sudo tmux \
        groff-base mandoc zsh fish
    say "base: here"
}

get_shellcheck() {
    apt_need shellcheck
    say "shellcheck: $(shellcheck --version | sed -n 's/^version: //p')"
}

# Nix itself, for scripts/check-nix; not nixpkgs.
get_nix() {
    command -v nix-instantiate >/dev/null || apt_need nix-bin
    command -v systemd-analyze >/dev/null || apt_need systemd
    command -v jq >/dev/null || apt_need jq
    command -v python3 >/dev/null || apt_need python3-minimal
    say "nix: $(nix-instantiate --version)"
}

# Without a font a page has no text to be looked at; optipng is for scripts/picture-web.
get_browser() {
    apt_need chromium fonts-dejavu-core optipng
    say "browser: $(chromium --version 2>/dev/null)"
}

get_emulator() {
    apt_need qemu-system-x86 mmdebstrap e2fsprogs
    say "emulator: $(qemu-system-x86_64 --version | head -n 1)"
}
