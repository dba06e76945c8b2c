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
        # systemd opens it beside no daemon that runs.
        [[ $unit != *-control.socket ]] || continue
        disturbed in_machine systemctl restart "$unit"
    done
}

# Both read their configuration again and do what it says, and no session ends.
reload_units() {
    local unit
    disturbed reload_guard
    disturbed reload_daemon
    in_machine rm /etc/bip324-proxy/config.d/{ports,sessions}.toml
    for unit in bip324-guard bip324-proxy; do
        in_machine systemctl reload "$unit"
    done
    wait_for 'the rules of before' in_machine bip324-setup check
}

# Another port each time.
reload_guard() {
    configure ports "ports = [8333, $((18000 + time))]"
    ! in_machine bip324-setup check || fail 'it does not say that the rules are those of before'
    in_machine systemctl reload bip324-guard
    wait_for 'the rules of the new configuration' in_machine bip324-setup check
    in_machine nft list set inet bip324 ports | grep -w $((18000 + time))
}

reload_daemon() {
    configure sessions "max_sessions = $((600 + time))"
    in_machine systemctl reload bip324-proxy
    wait_for 'the daemon to say what changed' logged bip324-proxy "reloaded: .*max_sessions.*$((600 + time))"
}

# The unit lets the daemon have port and folder; the log of its start is in the journal with fields.
serve_metrics() {
    ! asks --silent http://127.0.0.1:1325/metrics || fail 'there are metrics by default'
    configure metrics 'metrics = "127.0.0.1:1325"'
    survives_a_restart
    wait_for 'metrics at the port' scraped INET PeerAddr 127.0.0.1:1325
    ! asks --silent http://127.0.0.1:1325/metrics | grep -E '203\.0\.113\.|fd00:b324' ||
        fail 'an address is in the metrics'
    in_machine journalctl --quiet --output=verbose --unit=bip324-proxy PRIORITY=6 \
        SYSLOG_IDENTIFIER=bip324-proxy | grep -A 20 CODE_FILE= | grep 'MESSAGE=metrics at '
    configure metrics 'metrics = "unix:/run/bip324-metrics/metrics.sock"'
    disturbed in_machine systemctl restart bip324-proxy
    wait_for 'metrics at the path' scraped UNIX Peer /run/bip324-metrics/metrics.sock
    in_machine rm /etc/bip324-proxy/config.d/metrics.toml
}

# scraped FAMILY OPTION ADDRESS: whether all metrics can be had there.
scraped() {
    # shellcheck disable=SC2016  # Perl's variables
    in_machine perl -MIO::Socket::INET -MIO::Socket::UNIX -e '
        my ($family, $option, $address) = @ARGV;
        my $socket = "IO::Socket::$family"->new($option => $address) or die;
        print $socket "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        print <$socket>' "$@" | grep -x '# EOF'
}

# configure NAME LINE
configure() { in_machine sh -c "echo '$2' >/etc/bip324-proxy/config.d/$1.toml"; }

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

# A guard that cannot use its configuration refuses everybody, and no flush takes that away.
break_config() {
    configure broken 'prots = [8333]'
    in_machine systemctl reload bip324-guard
    served
    in_machine systemctl restart bip324-guard
    in_machine nft flush ruleset
    turned_away
    reboot
    in_machine systemctl --quiet is-active bip324-guard || fail 'the guard does not stay with a broken configuration'
    [[ $(in_machine systemctl show --property=StatusText bip324-guard) == *broken.toml:1:* ]] ||
        fail 'its status does not say what is wrong'
    in_machine nft flush ruleset
    in_machine systemctl reload nftables
    turned_away
    refused "bip324-run $(neutrino "${node[0]}")"
    refused "sudo -n -g bip324 $(neutrino "${node[1]}")"
    in_machine rm /etc/bip324-proxy/config.d/broken.toml
    in_machine systemctl reload bip324-guard
    in_machine systemctl restart bip324-proxy
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
