# shellcheck shell=bash disable=SC2154
# neutrino, the Go client, and a Go that can build it. Sourced by scripts/get.

get_neutrino() {
    install_once neutrino "$(fingerprint "$clients"/neutrino/{main.go,go.mod,go.sum})" build_neutrino
}

build_neutrino() {
    need_go
    quietly neutrino env CGO_ENABLED=0 GOTOOLCHAIN=local "${go[@]}" build -C "$clients/neutrino" \
        -trimpath -o "$real/neutrino/neutrino-sync" .
    wrapper neutrino-sync @/neutrino/neutrino-sync
}

# Sets ${go[@]}: what starts a Go that is new enough. Debian's stable releases have none.
need_go() {
    local needed candidate
    needed=$(sed -n 's/^go //p' "$clients/neutrino/go.mod")
    for candidate in go /usr/local/go/bin/go; do
        if go_is "$needed" "$candidate"; then
            go=("$candidate")
            return
        fi
    done
    install_once go sid unpack_go
    go=("$real/bin/go")
    go_is "$needed" "${go[@]}" || die "neutrino needs Go $needed, and Debian unstable has an older one"
}

go_is() {
    local needed=$1 version
    shift
    version=$(GOTOOLCHAIN=local "$@" env GOVERSION 2>/dev/null) || return 1
    dpkg --compare-versions "${version#go}" ge "$needed"
}

unpack_go() {
    unpack_from_sid "$real/go" golang-go
    unpacked_wrapper go go usr/lib/go/bin/go
}
