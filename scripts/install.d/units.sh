# shellcheck shell=bash disable=SC2154
# systemd. Sourced by scripts/install.

install_units() {
    command -v systemctl >/dev/null || return 0
    local unit order=()
    # Other systems start nftables after sysinit.target, and the guard is before that: no cycle.
    [[ -e /etc/debian_version ]] || order=(-e '/^After=nftables\.service$/d')
    for unit in "${services[@]}" "${optional[@]}"; do
        # The guard starts before most of the file systems are there.
        sed -e "s|/usr/sbin/bip324|$prefix/sbin/bip324|" -e "s|/usr/bin/bip324|$prefix/bin/bip324|g" \
            -e "s|^\[Unit\]$|&\nRequiresMountsFor=$prefix|" \
            "${order[@]}" "$root/packaging/systemd/$unit" >"$units/$unit.new"
        if ! cmp -s "$units/$unit.new" "$units/$unit"; then
            changed+=("$unit")
        fi
        mv "$units/$unit.new" "$units/$unit"
    done
    systemctl enable --quiet "${services[@]}"
}

# Restarted, the guard leaves the rules to systemd and its successor, and the daemon its listeners,
# where clients wait. The listeners themselves are opened anew only where their unit has changed, and so is the
# control socket: by the daemon's restart, for systemd opens none beside a daemon that runs.
start_units() {
    systemctl daemon-reload
    local unit
    for unit in "${services[@]}"; do
        [[ $unit != *.socket || " ${changed[*]} " == *" $unit "* ]] || continue
        case $unit in
            *-control.socket) systemctl stop "$unit" ;;
            *) systemctl restart "$unit" || does_not_start "$unit" ;;
        esac
    done
    systemctl try-restart "${optional[@]}"
}

does_not_start() {
    [[ $1 != *.socket ]] || refuse_instead
    drop_needless_block
    say_who_is_refused
    die 69 "installed, but $1 does not start: systemctl status $1"
}

prove() {
    local said status=0
    said=$("$setup" check 2>&1) || status=$?
    if [[ $status -ne 0 ]]; then
        [[ $status -ne 65 ]] || refuse_instead
        drop_needless_block
        say_who_is_refused
        die 69 "installed, but the redirect does not work: ${said#bip324-setup: }"
    fi
    drop_needless_block
    say "the redirect works: $said"
    say_who_is_refused
}

# Another user's program may be where clients would be redirected to: it has had the port before us. A guard
# that is stopped may leave nothing (on_exit = "open"), hence the table meanwhile, where there is nft to put it.
refuse_instead() {
    local number
    number=$(number_of "$(configured_group)")
    if [[ -n $number ]] && command -v nft >/dev/null; then
        keep_refusing "$number"
    fi
    systemctl stop bip324-guard.service
    refuse_clients
    say "once port 1324 is free (ss -ltnp tells who has it): systemctl start ${services[*]}"
}

say_what_to_start() {
    cat <<END
install: systemd does not run here; where it does, it starts all of this at boot. UNTIL THE GUARD
RUNS, CLIENTS UNDER GROUP $group CONNECT IN PLAINTEXT, but for those that bip324-run starts: it
refuses. To start both by hand, as root:

    $setup guard &
    setpriv --reuid _bip324 --regid _bip324 --clear-groups $prefix/sbin/bip324-proxy &
    $setup check
END
}

say_who_joins() {
    [[ -z $(getent group "$group" | cut -d : -f 4) ]] || return 0
    cat <<END

Nobody is in group $group yet. Whoever is to use it joins, and logs in again:

    sudo usermod -aG $group ${SUDO_USER:-USER}
    bip324-run CLIENT
END
}
