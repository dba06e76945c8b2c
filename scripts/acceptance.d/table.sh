# shellcheck shell=bash disable=SC2154
# Steps, and the table of what they came to. Sourced by run.

columns='%-38s %-6s %5s %8s %8s %8s %8s %9s %8s\n'

heading() {
    printf '\n%s\n\n' "$1"
    # shellcheck disable=SC2059
    printf "$columns" step result s answered refused packets escaped plaintext control
}

# step MODE NAME FUNCTION: runs it, and looks at what was on the wire meanwhile. MODE is protected where
# not a byte of plaintext may be. The first step that fails ends the run.
step() {
    local mode=$1 name=$2 start=$SECONDS result=ok status before after wire
    printf '\n== %s\n' "$name" >>"$logs/steps.log"
    read -ra before < <(tally)
    # In a condition, set -e would mean nothing within the step.
    set +e
    (set -e && "$3") >>"$logs/steps.log" 2>&1
    status=$?
    set -e
    [[ $status -eq 0 ]] || result=FAILED
    read -ra after < <(tally)
    read -ra wire < <(mark) || result=FAILED
    judge "$mode" "${wire[@]:-0}" >>"$logs/steps.log" 2>&1 || result=FAILED
    # shellcheck disable=SC2059
    printf "$columns" "$name" "$result" $((SECONDS - start)) $((after[2] - before[2])) \
        $((after[3] + after[4] - before[3] - before[4])) "${wire[0]:-?}" "${wire[3]:-?}" "${wire[2]:-?}" \
        "${wire[4]:-?}"
    [[ $result == ok ]] || give_up "$name"
}

# What the clients of the group count, since the first boot: attempted, connected, answered, refused,
# reset, failed.
tally() { in_machine cat /var/lib/acceptance/clients 2>/dev/null || echo 0 0 0 0 0 0; }

# judge MODE PACKETS DIALS PLAINTEXT ESCAPED CONTROL
judge() {
    # In a condition, where set -e means nothing: hence the returns.
    [[ $# -eq 6 ]] || { fail 'the capture has ended'; return; }
    [[ $6 -gt 0 ]] || { fail 'the plain client was not seen: the capture proves nothing'; return; }
    [[ $1 == unprotected || $4 -eq 0 && $5 -eq 0 ]] || fail 'plaintext left the machine'
}

give_up() {
    printf '\n%s failed:\n' "$1" >&2
    tail -n 30 "$logs/steps.log" >&2
    tail -n 5 "$logs/plaintext.log" >&2
    save_journal
    exit 1
}

finish_table() {
    save_journal
    # It says at its end whether it missed a packet.
    local pid=$capture_PID input=${capture[1]}
    exec {input}>&-
    wait "$pid" || fail "the capture is not complete: $(tail -n 3 "$logs/plaintext.log")"
}

save_journal() {
    in_machine journalctl --no-pager --output=short-precise >"$logs/journal.log" 2>&1 || true
}
