# shellcheck shell=bash
# For the scripts that run a program of crates/testkit/benches in network namespaces, as root.

# shellcheck source=scripts/accounts.sh
. scripts/accounts.sh

# run_in_lab PROGRAM ARGUMENT...: builds PROGRAM and ours, and runs it with the accounts it needs.
# lab_needs lists what scripts/get is to bring for it, lab_profile names cargo's profile, and
# lab_programs the programs of ours.
run_in_lab() {
    local program=$1
    shift
    [[ $(id -u) == 0 ]] || { echo "$program: run it as root" >&2 && exit 77; }
    umask 022
    lab=$(mktemp -d "/tmp/bip324-$program.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    echo 'preparing: packages, build ...'
    if ! prepare "$program" >"$lab/prepare.log" 2>&1; then
        tail -n 20 "$lab/prepare.log" >&2
        echo "$program: the preparation failed" >&2
        exit 1
    fi
    hold_accounts
    "$lab/deps/$program" "$@" &
    running=$!
    wait "$running"
}

# Copies of the programs: the next build does not touch them, and any user may run them.
prepare() {
    # shellcheck disable=SC2154
    scripts/get "${lab_needs[@]}" && find_rust &&
        cargo build --locked --profile "$lab_profile" "${lab_programs[@]/#/--bin=}" || return
    cargo bench --locked --profile "$lab_profile" --no-run --bench "$1" -p bip324-testkit 2>&1 |
        tee "$lab/bench.log" || return
    local built folder=${CARGO_TARGET_DIR:-target}/${lab_profile/dev/debug}
    built=$(sed -nE 's/^ *Executable .*\((.*)\)$/\1/p' "$lab/bench.log")
    chmod 755 "$lab"
    mkdir "$lab/deps"
    install -m 755 "$built" "$lab/deps/$1" &&
        install -m 755 "${lab_programs[@]/#/$folder/}" "$lab"
}

clean_up() {
    # To the end, whatever fails and however often Ctrl-C is pressed.
    trap '' INT TERM
    set +e
    stop_running
    release_accounts
    rm -rf "$lab"
    # Built as root, in a checkout that may be another user's.
    [[ ! -d target ]] || chown -R --reference=. target
}

# A program that is interrupted leaves namespaces behind. Their names hold its process id.
stop_running() {
    [[ -n $running ]] || return
    kill -KILL "$running" 2>/dev/null
    wait "$running"
    local name
    for name in $(ip netns list | grep -oE "^bip324-test-$running-[^ ]+"); do
        ip netns pids "$name" | xargs -r kill -KILL
        ip netns delete "$name"
        rm -rf "/tmp/$name"
    done
}

lab_programs=(bip324-proxy bip324-setup)
lab=
running=
