# shellcheck shell=bash disable=SC2154
# What a user sees: bip324ctl and the page. Sourced by run.

socket=/run/bip324-proxy/control.sock

# While a client of alice's is connected, the node's owner reads out its session id.
control() {
    syncs v2 "bip324-run $(neutrino "${node[1]}")" seen_from_both_ends
    in_machine bip324ctl check
}

seen_from_both_ends() {
    local id
    id=$(<"$lab/session")
    as_alice 'bip324ctl status --json' | jq -e '.daemon.sessions.v2 >= 1 and .rules.state == "alive"'
    as_alice 'bip324ctl sessions --json' | jq -e --arg id "$id" \
        '.scope == "own" and any(.sessions[]; .session_id == $id and .kind == "v2")'
    in_machine bip324ctl sessions --json | jq -e --arg id "$id" \
        '.scope == "all" and any(.sessions[]; .session_id == $id and .process.name == "neutrino-sync")'
    as_alice "bip324ctl verify $id"
    ! as_alice "bip324ctl verify $(tr '0-9a-f' '1-9a-f0' <<<"$id")" || fail 'another id is taken for this one'
    # Another member sees no session of hers, and whoever is no member sees nothing at all.
    in_machine runuser --login bob --command 'bip324ctl sessions --json' |
        jq -e '.scope == "own" and .sessions == []'
    refuses_strangers
}

refuses_strangers() {
    local said
    ! said=$(in_machine setpriv --reuid nobody --regid nogroup --clear-groups bip324ctl status 2>&1) ||
        fail 'a stranger is told the status'
    grep 'is not for this user' <<<"$said"
}

# The socket is systemd's: the daemon comes and goes behind it.
survives_a_restart() {
    local was is
    was=$(in_machine stat --format='%i %U:%G %a' "$socket")
    in_machine systemctl restart bip324-proxy.service
    is=$(in_machine stat --format='%i %U:%G %a' "$socket")
    [[ $was == "$is" && $is == *' root:bip324 660' ]] || fail "the control socket was $was, and is $is"
    as_alice 'bip324ctl status --json' | jq -e '.daemon.uptime < 30000'
}

# Off, and started by hand. The file with its address is the group's.
page() {
    local url
    [[ $(in_machine systemctl is-enabled bip324-web || true) == disabled ]] || fail 'the page is enabled'
    ! asks --silent http://127.0.0.1:1326/ || fail 'there is a page by default'
    in_machine systemctl start bip324-web
    wait_for 'the page' asks --silent --fail --output "$lab/page" http://127.0.0.1:1326/
    grep -i '<!doctype html>' "$lab/page"
    ! asks --silent --fail http://127.0.0.1:1326/session/1 || fail 'it tells without its token'
    url=$(as_alice 'cat /run/bip324-web/url')
    [[ $url == http://127.0.0.1:1326/* ]] || fail "its address is $url"
    ! in_machine setpriv --reuid nobody --regid nogroup --clear-groups cat /run/bip324-web/url ||
        fail 'a stranger reads its address'
    # With the token, what the daemon says: the first line of many.
    { asks --silent --no-buffer --header "Authorization: Bearer ${url#*#}" http://127.0.0.1:1326/feed || true; } |
        head -n 1 >"$lab/feed"
    grep -o '"accepted":[0-9]*' "$lab/feed"
    in_machine systemctl stop bip324-web
    ! asks --silent http://127.0.0.1:1326/ || fail 'the page stays'
}

# asks OPTION...: this machine's curl, on the network of the other.
asks() { nsenter --target "$(<"$lab/init")" --net curl --noproxy '*' --max-time 10 "$@"; }
