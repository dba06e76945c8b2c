# shellcheck shell=bash disable=SC2154
# The frame of every installation: a folder of its own, made at most once, and one wrapper
# per program. Sourced by scripts/get, which sets $real.

say() {
    printf '%s\n' "get: $*"
}

die() {
    printf '%s\n' "get: $*" >&2
    exit 69 # EX_UNAVAILABLE
}

# install_once NAME VERSION FUNCTION: unless $real/NAME holds VERSION already, empties it and
# runs FUNCTION, which fills it. The version is written last: what broke off is begun anew.
install_once() {
    local name=$1 version=$2 function=$3
    local folder=$real/$name mark=$real/$name/.version start=$SECONDS
    if [[ -r $mark && $(<"$mark") == "$version" ]]; then
        say "$name: here already"
        return
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    "$function"
    printf '%s\n' "$version" >"$mark"
    say "$name: installed $version in $((SECONDS - start)) s"
}

# quietly NAME COMMAND...: keeps the output in a log, and shows its end if COMMAND fails.
quietly() {
    local log=$real/log/$1.log
    shift
    mkdir -p "$real/log"
    if ! "$@" >>"$log" 2>&1 9>&-; then
        tail -n 30 "$log" >&2
        die "'$*' failed; all of its output is in $log"
    fi
}

# wrapper NAME WORD...: makes $real/bin/NAME run the WORDs, in which @/ stands for $real/. It
# finds its folder through its own path, so that the whole of $real can be moved.
wrapper() {
    local name=$1 file=$real/bin/$1 word
    shift
    {
        printf '%s\n' '#!/bin/sh' '# Written by scripts/get.'
        # shellcheck disable=SC2016  # expands when the wrapper runs
        printf '%s\n' 'real=$(dirname "$(dirname "$(readlink -f "$0")")")'
        printf 'exec'
        for word in "$@"; do
            printf ' "%s"' "${word//@\//\$real/}"
        done
        # shellcheck disable=SC2016
        printf ' "$@"\n'
    } >"$file"
    chmod 755 "$file"
}

# fingerprint FILE...: a short name for what is in the files.
fingerprint() {
    cat "$@" | sha256sum | cut -c 1-16
}

# The tests start the clients as ordinary users.
warn_if_private() {
    local folder
    folder=$(cd "$1" && pwd -P)
    while [[ $folder != / ]]; do
        if [[ $(stat -c %A "$folder") != *[xt] ]]; then
            say "warning: other users cannot enter $folder, so they cannot run what is installed" \
                "in $real; REAL_DIR=... puts it elsewhere" >&2
            return
        fi
        folder=$(dirname "$folder")
    done
}
