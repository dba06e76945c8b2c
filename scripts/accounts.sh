# shellcheck shell=bash
# The accounts that tests need, for scripts that run as root. Several may run at once: the last to end
# removes what any of them has made, and what one has left that was killed.

# Makes what is missing of the group bip324 and the users _bip324 and bip324-test.
hold_accounts() {
    exec {accounts_turn}>>"$accounts.turn" {accounts_held}>>"$accounts.held"
    flock "$accounts_turn"
    flock --shared "$accounts_held"
    if ! getent group bip324 >/dev/null; then
        groupadd --system bip324
        echo groupdel bip324 >>"$accounts"
    fi
    make_user _bip324 /usr/sbin/nologin
    make_user bip324-test /bin/sh
    # Also of one that was there: `sg` runs commands with the user's own shell.
    usermod --shell /bin/sh --append --groups bip324 bip324-test
    flock --unlock "$accounts_turn"
}

# make_user NAME SHELL
make_user() {
    local group=--user-group
    getent passwd "$1" >/dev/null && return
    ! getent group "$1" >/dev/null || group=--gid=$1
    useradd --system "$group" --no-create-home --shell "$2" "$1"
    echo userdel "$1" >>"$accounts"
}

release_accounts() {
    [[ -n $accounts_held ]] || return 0
    flock "$accounts_turn"
    flock --unlock "$accounts_held"
    if [[ -e $accounts ]] && flock --nonblock "$accounts_held"; then
        local command name
        # Last made, first removed.
        while read -r command name; do
            "$command" "$name"
        done < <(tac "$accounts")
        rm "$accounts"
    fi
    flock --unlock "$accounts_turn"
    accounts_held=''
}

# What has been made, as the commands that remove it; beside it, whose turn it is, and who needs them.
accounts=/run/bip324-test-accounts
accounts_held=''
