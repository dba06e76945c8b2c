# shellcheck shell=bash disable=SC2154
# The package comes and goes. Sourced by run.

units=(bip324-guard.service bip324-proxy.socket bip324-proxy-control.socket bip324-proxy.service)

# The same clients and the same capture without us: this is what must not be seen later.
before() {
    in_both_families v1 ''
    [[ $(in_machine nft list ruleset) != *bip324* ]] || fail 'there are rules already'
}

install() {
    in_machine mkdir -p /etc/bip324-proxy/config.d
    configure debug 'log = "debug"'
    in_machine apt-get install --yes --quiet=2 /opt/debs/this.deb
    stands
    in_machine gpasswd --add alice bip324
    in_machine gpasswd --add bob bip324
    served
}

# stands: all that belongs to an installed package is there, and works.
stands() {
    wait_for 'the units' in_machine systemctl is-active "${units[@]}"
    in_machine systemctl is-enabled "${units[@]}"
    in_machine nft list table inet bip324 >/dev/null
    ! in_machine nft list table inet bip324_block 2>/dev/null || fail 'the block stands'
    in_machine bip324-setup check
    in_machine bip324-setup status
    in_machine bip324ctl check
}

# What is new is the version's name alone: how two versions differ is not tried, but what an upgrade does is.
upgrade() {
    local was
    was=$(installed_version)
    in_machine apt-get install --yes --quiet=2 /opt/debs/next.deb
    [[ $(installed_version) == "$was+next" ]] || fail 'it was not upgraded'
    stands
    served
    knots_follows
}

installed_version() { in_machine dpkg-query --show bip324-proxy | cut -f 2; }

# With a client that runs on, and holds a group that is no more.
remove_package() {
    in_machine getent group bip324 >"$lab/group"
    in_machine apt-get remove --yes --quiet=2 bip324-proxy
    turned_away
    no_new_client
}

# no_new_client: in any of the four ways.
no_new_client() {
    [[ -z $(in_machine getent group bip324) ]] || fail 'the group is still there'
    refused "sudo -n -g bip324 $(neutrino "${node[0]}")"
    refused "sg bip324 -c '$(neutrino "${node[0]}")'"
    refused "bip324-run $(neutrino "${node[0]}")"
    service removed "$(neutrino "${node[1]}")"
    in_machine systemctl start removed
    wait_for 'the service to fail for want of the group' logged removed status=216/GROUP
    in_machine systemctl stop removed
    in_machine rm /etc/systemd/system/removed.service
    in_machine systemctl daemon-reload
}

reboot_removed() {
    end_as_usual
    reboot
    no_new_client
}

# Without a guard the block is nobody's, and nftables.service flushes it in a shutdown once network.target is
# down: a client that lasts longer is let out (docs/SECURITY.md). So here the clients are as any service after that
# target, and any session of a user: they go on until the shutdown. It is forgotten in the next boot.
end_as_usual() {
    in_machine mkdir -p /run/systemd/system/acceptance-clients.service.d
    in_machine sh -c 'printf "[Unit]\nDefaultDependencies=yes\nAfter=network.target\n" \
        >/run/systemd/system/acceptance-clients.service.d/usual.conf'
    in_machine systemctl daemon-reload
}

# While there was no daemon, bob has taken its port. Nobody is sent to him, until he is gone.
reinstall() {
    in_machine systemd-run --quiet --unit=taken --uid=bob \
        systemd-socket-activate --listen=127.0.0.1:1324 --accept /bin/cat
    in_machine apt-get install --yes --quiet=2 /opt/debs/this.deb 2>&1 | tee "$lab/said"
    grep 'held by user bob' "$lab/said"
    grep 'clients of group bip324 are not let out meanwhile' "$lab/said"
    in_machine nft list table inet bip324_block >/dev/null
    ! in_machine nft list table inet bip324 2>/dev/null || fail 'clients are redirected to bob'
    turned_away
    in_machine systemctl stop taken
    in_machine systemctl start "${units[@]}"
    stands
    local group
    group=$(in_machine getent group bip324)
    [[ $group == "$(<"$lab/group")" ]] || fail "the group was $(<"$lab/group"), and is $group"
    served
    by_sudo
    knots_follows
}

# What is told apart from the system before only by a byte is found here.
purge_package() {
    in_machine apt-get purge --yes --quiet=2 bip324-proxy
    nothing_left
}

nothing_left() {
    local left
    left=$(in_machine sh -c 'getent group bip324 _bip324 _bip324-nft
        getent passwd _bip324 _bip324-nft
        nft list tables | grep bip324
        systemctl list-unit-files --no-legend "bip324*"
        systemctl list-units --all --no-legend "bip324*"
        find / /run -xdev \( -name "*bip324*" -o -path "*/bip324-proxy/*" \) ! -path "/opt/*" ! -path "/proc/*" \
            ! -path "/sys/*" ! -path "/var/lib/apt/*" ! -path "/tmp/systemd-private-*" ! -path "/var/tmp/systemd-private-*"')
    [[ -z $left ]] || fail "left: $left"
}

after() {
    reboot
    in_both_families v1 ''
    nothing_left
}
