# shellcheck shell=bash disable=SC2154
# What befalls a machine, while clients connect. Sourced by run.

# disturbed COMMAND...: several times, and each time clients are served again.
disturbed() {
    local time times=3
    [[ -z $quick ]] || times=1
    for ((time = 1; time <= times; time++)); do
        echo "time $time: $*"
        "$@"
        served
    done
    stands
    knots_follows
}

flush() { disturbed in_machine nft flush ruleset; }
# Debian's nftables.conf begins with a flush.
reload_nftables() { disturbed in_machine systemctl reload nftables; }

restart_units() {
    local unit
    for unit in "${units[@]}"; do
        disturbed in_machine systemctl restart "$unit"
    done
}

kill_guard() { disturbed kill_service bip324-guard; }
kill_daemon() { disturbed kill_service bip324-proxy; }

# The unit starts again by itself.
kill_service() {
    local was
    was=$(main_pid "$1")
    in_machine kill -KILL "$was"
    wait_for "$1 to start again" started_anew "$1" "$was"
}

# Both in one answer: between two, the old process may end.
started_anew() {
    local state
    state=" $(in_machine systemctl show --property=ActiveState,MainPID "$1" | tr '\n' ' ')"
    [[ $state == *' ActiveState=active '* && $state != *" MainPID=$2 "* ]]
}

main_pid() { in_machine systemctl show --property=MainPID --value "$1"; }

firewalld() {
    in_machine sh -c 'apt-get install --yes --quiet=2 --no-install-recommends /srv/later/*.deb'
    wait_for firewalld in_machine systemctl is-active firewalld
    served
    disturbed in_machine firewall-cmd --reload
    disturbed in_machine systemctl restart firewalld
    in_machine systemctl disable --now firewalld
    served
    stands
}

# A guard that cannot read its configuration must not leave clients to themselves.
break_config() {
    in_machine sh -c 'echo "prots = [8333]" >/etc/bip324-proxy/config.d/broken.toml'
    ! in_machine systemctl restart bip324-guard || fail 'the guard starts with a broken configuration'
    in_machine nft flush ruleset
    tried
    # Without a guard the block is nobody's, and nftables flushes it at a shutdown, when clients with the
    # usual dependencies are gone.
    in_machine systemctl stop acceptance-clients
    reboot
    ! in_machine systemctl --quiet is-active bip324-guard || fail 'the guard runs with a broken configuration'
    turned_away
    refused "bip324-run $(neutrino "${node[0]}")"
    refused "sudo -n -g bip324 $(neutrino "${node[1]}")"
    in_machine rm /etc/bip324-proxy/config.d/broken.toml
    in_machine systemctl restart bip324-guard bip324-proxy
    served
    stands
    knots_follows
}

reboot_served() {
    reboot
    stands
    served
    knots_follows
}
