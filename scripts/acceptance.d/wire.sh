# shellcheck shell=bash disable=SC2154
# The wire, with the node, an echoing peer and the capture at our end of it. Sourced by run.

node=(203.0.113.2 fd00:b324::2)
echo=(203.0.113.3 fd00:b324::3)
# Here too somebody echoes, but only clients without the group come.
control=(203.0.113.4 fd00:b324::4)
height=120

# A bridge: it stays when the machine reboots and its end of the wire goes.
make_wire() {
    ip link set lo up
    ip link add wire type bridge
    # A bridge without any port would take no packet, and the capture's own marks are packets.
    ip link add port type veth peer name idle
    ip link set port master wire up
    ip link set idle up
    ip link set wire up
    local ip
    for ip in "${node[0]}" "${echo[0]}" "${control[0]}"; do
        ip addr add "$ip/24" broadcast + dev wire
    done
    for ip in "${node[1]}" "${echo[1]}" "${control[1]}"; do
        ip addr add "$ip/64" dev wire nodad
    done
    coproc capture { kit watch wire "${control[@]}" 2>"$logs/plaintext.log"; }
    kit echo "${echo[@]}" "${control[@]}" >"$logs/echo.log" 2>&1 &
    wait_for 'the echoing peer' grep -q listening "$logs/echo.log"
}

# The test kit's own program.
kit() { "$work/program/bip324-acceptance" "$@"; }

# mark: what has been on the wire since the last one.
mark() {
    local line
    echo >&"${capture[1]}" && read -r -t 30 -u "${capture[0]}" line && echo "$line"
}

start_node() {
    mkdir "$lab/node"
    local ip options=()
    for ip in "${node[@]}"; do
        [[ $ip != *:* ]] || ip="[$ip]"
        options+=("-bind=$ip:8333")
    done
    "$real/bin/bitcoind" -regtest -datadir="$lab/node" -printtoconsole=1 -v2transport=1 -listen=1 \
        -connect=0 -listenonion=0 -disablewallet -dbcache=16 -blockfilterindex=1 -peerblockfilters=1 \
        -debug=net "${options[@]}" >"$logs/node.log" 2>&1 &
    wait_for 'the node' node_rpc generatetodescriptor $height 'raw(51)'
}

node_rpc() { "$real/bin/bitcoin-cli" -regtest -datadir="$lab/node" "$@"; }

# node_peers: a line for each: transport, session id, user agent.
node_peers() { node_rpc getpeerinfo | kit peers; }
