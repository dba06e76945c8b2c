# shellcheck shell=bash disable=SC2154
# Real clients, and the ways in which a user starts one. Sourced by run.

by_sudo() { in_both_families v2 'sudo -n -g bip324'; }
by_launcher() { in_both_families v2 bip324-run; }

by_sg() {
    local ip
    for ip in "${node[@]}"; do
        syncs v2 "sg bip324 -c '$(neutrino "$ip")'"
    done
}

# in_both_families TRANSPORT LAUNCHER: a client that LAUNCHER starts syncs, and the node counts it as
# TRANSPORT.
in_both_families() {
    local ip
    for ip in "${node[@]}"; do
        syncs "$1" "$2 $(neutrino "$ip")"
    done
}

# The session is the daemon's own from end to end: both tell the same id, the daemon at debug alone.
same_session() {
    by_launcher
    wait_for 'the daemon to tell the session id' logged bip324-proxy "$(<"$lab/session")"
    in_machine journalctl --quiet --unit=bip324-proxy "BIP324_SESSION_ID=$(<"$lab/session")" |
        grep 'session established' >/dev/null
    in_machine rm /etc/bip324-proxy/config.d/debug.toml
}

# logged UNIT TEXT. To the end: grep -q would break the pipe, and so the pipeline.
logged() { in_machine journalctl --unit="$1" | grep "$2" >/dev/null; }

# neutrino IP: its command line. The folder is new each time: it remembers which peers it has banned.
neutrino() {
    [[ $1 != *:* ]] || set -- "[$1]"
    printf '/opt/real/bin/neutrino-sync -network regtest -datadir /tmp/neutrino-%s -height %s -peer %s:8333' \
        "$(tr -dc a-z0-9 </dev/urandom | head -c 12)" "$height" "$1"
}

# syncs TRANSPORT LINE [MEANWHILE]: what alice types. The client stays connected until its input ends.
syncs() {
    local transport=$1 line=$2 meanwhile=${3:-:} client
    echo "alice\$ $line"
    rm -f "$lab/input" "$lab/output"
    mkfifo "$lab/input"
    as_alice "$line" <"$lab/input" >"$lab/output" 2>&1 &
    client=$!
    exec 7>"$lab/input"
    wait_for 'the client to sync' synced || { cat "$lab/output" && return 1; }
    wait_for "the node to count it as $transport" node_counts "$transport" neutrino
    node_peers
    node_peers | awk '/neutrino/ { print $2 }' >"$lab/session"
    "$meanwhile"
    exec 7>&-
    wait "$client" || fail 'the client did not end well'
    wait_for 'the node to forget it' node_counts_none neutrino
}

synced() { grep -q "^synced height=$height" "$lab/output"; }

# node_counts TRANSPORT AGENT: it has such a peer, with a session id of 64 digits where that is v2.
node_counts() {
    local id='[0-9a-f]{64}'
    [[ $1 == v2 ]] || id='-{64}'
    node_peers | grep -E "^$1 $id .*$2" >/dev/null
}

node_counts_none() {
    local peers
    peers=$(node_peers) && [[ $peers != *"$1"* ]]
}

# refused LINE: what alice types ends with an error, and the node has never seen it.
refused() {
    echo "alice\$ $1"
    if as_alice "timeout 20 $1" </dev/null; then
        fail 'it was to fail'
    fi
    node_counts_none neutrino || fail 'the node has seen it'
}

# --- services --------------------------------------------------------------------------------

# A client of each family as a system service, which an administrator has given the group.
by_service() {
    local ip number=0
    for ip in "${node[@]}"; do
        number=$((number + 1))
        service "client-$number" "/bin/sh -c \"sleep infinity | exec $(neutrino "$ip")\""
        in_machine systemctl start "client-$number"
        wait_for 'the node to count it as v2' node_counts v2 neutrino
        wait_for 'the service to sync' logged "client-$number" "synced height=$height"
        node_peers
        in_machine systemctl stop "client-$number"
        wait_for 'the node to forget it' node_counts_none neutrino
    done
}

# service NAME COMMAND: a unit for it, which does not give up while there is no group.
service() {
    in_machine tee "/etc/systemd/system/$1.service" >/dev/null <<END
[Unit]
StartLimitIntervalSec=0

[Service]
User=alice
Group=bip324
ExecStart=$2
Restart=on-failure
RestartSec=200ms

[Install]
WantedBy=multi-user.target
END
    in_machine systemctl daemon-reload
}

# A full node that knows v1 alone follows the chain for the rest of the run.
start_knots_client() {
    local options='-regtest -datadir=/home/alice/knots -v2transport=0 -listen=0 -disablewallet -dbcache=16'
    as_alice 'mkdir knots'
    service knots "/opt/real/bin/bitcoind $options -connect=${node[0]}:8333 -connect=[${node[1]}]:8333"
    in_machine systemctl enable --now knots
    wait_for 'two v2 sessions of Knots' node_counts_two_of_knots
    node_peers
    knots_follows
}

node_counts_two_of_knots() { [[ $(node_peers | grep -cE '^v2 [0-9a-f]{64} .*Satoshi') -eq 2 ]]; }

# knots_follows: it gets a block that is mined now.
knots_follows() {
    in_machine systemctl --quiet is-enabled knots 2>/dev/null || return 0
    node_rpc generatetodescriptor 1 'raw(51)' >/dev/null
    wait_for 'Knots to get the new block' knots_has "$(node_rpc getbestblockhash)"
}

knots_has() {
    [[ $(as_alice '/opt/real/bin/bitcoin-cli -regtest -datadir=knots getbestblockhash') == "$1" ]]
}

# --- the clients that connect all the time -----------------------------------------------------

# They have come through to a peer this often since now.
served() { grows 'clients to be served' 2; }
# They have been refused or reset.
turned_away() { grows 'clients to be refused' 3; }

# grows WHAT FIELD: of the tally, by more than there are clients.
grows() {
    local goal=$(($(field "$2") + 30))
    wait_for "$1" reached "$2" "$goal"
}

reached() { [[ $(field "$1") -ge $2 ]]; }

field() {
    local -a counts
    read -ra counts < <(tally)
    echo "${counts[$1]}"
}
