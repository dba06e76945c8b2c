# shellcheck shell=bash disable=SC2154
# Bitcoin Knots from Debian unstable, run with the libc that it was built for. Sourced by
# scripts/get.

get_knots() {
    if [[ -n ${BITCOIND:-} ]]; then
        install_once knots "$(realpath "$BITCOIND")" name_bitcoind
    else
        install_once knots sid unpack_knots
    fi
}

name_bitcoind() {
    local node cli
    node=$(realpath "$BITCOIND")
    cli=$(dirname "$node")/bitcoin-cli
    [[ -x $node ]] || die "BITCOIND=$BITCOIND is no program"
    rm -f "$real/bin/bitcoin-cli"
    wrapper bitcoind "$node"
    if [[ -x $cli ]]; then
        wrapper bitcoin-cli "$cli"
    fi
}

unpack_knots() {
    unpack_from_sid "$real/knots" bitcoin-knots
    local program
    for program in bitcoind bitcoin-cli; do
        if [[ -x $real/knots/usr/bin/$program ]]; then
            unpacked_wrapper "$program" knots "usr/bin/$program"
        fi
    done
    [[ -x $real/bin/bitcoind ]] || die "Debian's bitcoin-knots holds no bitcoind any more"
}
