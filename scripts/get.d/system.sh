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
        nftables iproute2 conntrack tcpdump procps util-linux passwd sudo \
        groff-base mandoc zsh fish
    say "base: here"
}

get_shellcheck() {
    apt_need shellcheck
    say "shellcheck: $(shellcheck --version | sed -n 's/^version: //p')"
}
