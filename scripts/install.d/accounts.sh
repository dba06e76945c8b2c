# shellcheck shell=bash disable=SC2154
# Users and the group, which comes back with the number that it had. Sourced by scripts/install.

make_accounts() {
    if ! getent group "$group" >/dev/null; then
        make_group
    elif [[ -d /run/systemd/system ]]; then
        keep_refusing_all_but "$(number_of "$group")"
    fi
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$prefix/lib/sysusers.d/bip324-proxy.conf"
        return
    fi
    local user
    for user in _bip324 _bip324-nft; do
        getent passwd "$user" >/dev/null ||
            useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$user"
    done
}

# With the number that it had, because that is what its files belong to.
restore_group() {
    local gid members member
    [[ -s $kept/group ]] || return 0
    IFS=: read -r _ _ gid members <"$kept/group"
    if ! getent group "$group" >/dev/null && ! make_group --gid "$gid"; then
        make_group
        say "group $group has another number than before; files of the old one: find / -xdev -gid $gid"
    fi
    for member in ${members//,/ }; do
        # Who may be in no file here, but in a directory of the network.
        if getent passwd "$member" >/dev/null; then
            gpasswd --add "$member" "$group" >/dev/null || say "$member is no member of group $group any more"
        fi
    done
    rm -r "$kept"
}

# make_group [OPTION...]: the block stands before anybody can use the group. A service that is to run under
# it may be waiting, and starts the moment that it exists.
make_group() {
    local stands
    ! getent group "$group-new" >/dev/null || groupdel "$group-new"
    groupadd --system "$@" "$group-new" || return
    if [[ -d /run/systemd/system ]]; then
        keep_refusing_all_but "$(number_of "$group-new")"
        stands=$("$built/bip324-setup" block --group "$group-new") || [[ -n $stands ]] ||
            die 75 'not installed: the clients cannot be refused until the rules stand'
    fi
    groupmod --new-name "$group" "$group-new"
}

number_of() { { getent group "$1" || true; } | cut -d : -f 3; }

# It is the administrator's, and stays: only group bip324 goes.
say_of_other_group() {
    local asked='' other readable=yes when='AFTER THE NEXT BOOT'
    [[ -z $purge ]] || when='FROM NOW ON'
    [[ ! -x $setup ]] || asked=$("$setup" block --dry-run 2>/dev/null) || readable=''
    other=$(sed -n 's/.*meta skgid "\([^"]*\)".*/\1/p' <<<"$asked" | sort -u)
    if [[ -z $readable && $other == "$group" ]]; then
        say "which group is configured cannot be read. If it is another than $group, it stays: $when PROGRAMS" \
            'UNDER IT CONNECT IN PLAINTEXT'
    fi
    [[ -n $other && $other != "$group" ]] && getent group "$other" >/dev/null || return 0
    say "group $other, which is configured, stays. $when PROGRAMS UNDER IT CONNECT IN PLAINTEXT," \
        "unless nobody starts any, or it goes, too: groupdel $other"
}

# Without the group nobody can start a client under it, which nothing would redirect.
remove_group() {
    local entry
    entry=$(getent group "$group") || return 0
    install -d -m 700 "$kept"
    printf '%s\n' "$entry" >"$kept/group"
    groupdel "$group" ||
        say "group $group stays, perhaps as some user's primary one. AFTER THE NEXT BOOT PROGRAMS UNDER" \
            'IT CONNECT IN PLAINTEXT'
}

remove_users() {
    local user
    for user in _bip324 _bip324-nft; do
        if getent passwd "$user" >/dev/null; then
            userdel "$user" || say "user $user stays"
        fi
        if getent group "$user" >/dev/null; then
            groupdel "$user" || say "group $user stays"
        fi
    done
    # Of an installation that was interrupted.
    if getent group "$group-new" >/dev/null; then
        groupdel "$group-new" || say "group $group-new stays"
    fi
}
