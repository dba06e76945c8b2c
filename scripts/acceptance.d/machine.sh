# shellcheck shell=bash disable=SC2154
# The machine under test, a container that boots. Sourced by run. What is done in it goes through
# in_machine alone.

machine=$lab/machine

make_machine() {
    mkdir "$machine"
    tar -C "$machine" -xf "$tree" --numeric-owner --xattrs --xattrs-include='*'
    mkdir -p "$machine"/opt/{real,program,debs}
    cp -r "$parts/files/." "$machine"
    systemctl --quiet --root="$machine" enable systemd-networkd nftables acceptance-control acceptance-clients
    in_tree useradd --create-home --shell /bin/bash alice
    in_tree useradd --create-home --shell /bin/bash bob
    in_tree install --directory --mode=1777 /var/lib/acceptance
    boot
}

in_tree() { chroot "$machine" "$@"; }

# With Landlock, as on any machine: nspawn of Debian 12 does not know it, and forbids it.
boot() {
    systemd-nspawn --quiet --register=no --keep-unit --console=pipe --machine="$release" \
        --network-bridge=wire --directory="$machine" --bind-ro="$real:/opt/real" \
        --bind-ro="$work/program:/opt/program" --bind-ro="$work/debs:/opt/debs" \
        --system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self' --boot \
        >>"$logs/console.log" 2>&1 </dev/null &
    echo $! >"$lab/nspawn"
    wait_for 'the first process' find_init
    wait_for 'the machine to boot' booted
}

# systemd is the only child of nspawn, as soon as it runs.
find_init() {
    local child
    child=$(pgrep -P "$(<"$lab/nspawn")" -x systemd) && echo "$child" >"$lab/init"
}

booted() {
    local state
    state=$(in_machine systemctl is-system-running) || [[ $state == degraded ]]
}

# in_machine COMMAND...: as root.
in_machine() {
    nsenter --target "$(<"$lab/init")" --all -- env --ignore-environment \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}

# as_alice LINE: in a login shell of hers.
as_alice() { in_machine runuser --login alice --command "$1"; }

reboot() {
    in_machine systemctl reboot || true
    # By its id: in a subshell it is not a child.
    wait_for 'the machine to stop' nspawn_ended
    boot
}

nspawn_ended() { [[ ! -d /proc/$(<"$lab/nspawn") ]]; }

debian_version() { printf '%s (%s), %s' "$(<"$machine/etc/debian_version")" "$release" \
    "$(in_machine systemctl --version | sed -n '1s/ (.*//p'), $(in_machine nft --version | cut -d' ' -f1,2), Linux $(uname -r)"; }
