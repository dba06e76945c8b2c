# shellcheck shell=bash disable=SC2154
# neutrino, the Go client, and a Go that can build it. Sourced by scripts/get.

get_neutrino() {
    install_once neutrino "$(fingerprint "$clients"/neutrino/{main.go,go.mod,go.sum})" build_neutrino
}

build_neutrino() {
    need_go
    quietly neutrino env CGO_ENABLED=0 GOTOOLCHAIN=local "$go" build -C "$clients/neutrino" \
        -trimpath -o "$real/neutrino/neutrino-sync" .
    wrapper neutrino-sync @/neutrino/neutrino-sync
}

# Sets $go to a Go that is new enough. Debian's stable releases have none; unstable's is linked
# statically and finds its own folder, so it runs from wherever it is unpacked.
need_go() {
    local needed
    needed=$(sed -n 's/^go //p' "$clients/neutrino/go.mod")
    for go in go /usr/local/go/bin/go; do
        go_is "$needed" && return
    done
    install_once go sid unpack_go
    go=$real/go/usr/lib/go/bin/go
    go_is "$needed" || die "neutrino needs Go $needed or newer; Debian unstable has $("$go" version)"
}

go_is() {
    local version
    version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || return 1
    dpkg --compare-versions "${version#go}" ge "$1"
}

unpack_go() {
    unpack_from_sid "$real/go" golang-go
}
