# shellcheck shell=bash
# What building and the tests in network namespaces need of Debian. Sourced by scripts/get.

get_base() {
    apt_need build-essential pkg-config libmnl-dev libnftnl-dev ca-certificates \
        nftables iproute2 conntrack tcpdump procps util-linux passwd sudo
    say "base: here"
}
