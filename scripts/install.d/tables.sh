# shellcheck shell=bash disable=SC2154
# What refuses clients while no guard sees to them. Sourced by scripts/install.

# Whatever holds the group's number, however it got it. `block` fails also where it had to guess what is
# meant; it says what stands, if anything does. A redirect that nobody owns is of no use without the daemon,
# whose port is anybody's now.
refuse_clients() {
    local stands
    if [[ -x $setup ]] && getent group "$group" >/dev/null; then
        stands=$("$setup" block) || [[ -n $stands ]] ||
            die 75 'stopped, but not removed: the clients cannot be refused'
        say "$stands"
        nft delete table inet bip324 2>/dev/null || true
    fi
}

# keep_refusing_all_but NUMBER: rules match a number. Programs may go on under one that the group had before,
# or that another group has which is configured instead: what is redirected or refused gets a table of its own
# before ours change.
keep_refusing_all_but() {
    local number table
    for number in $(for table in bip324 bip324_block bip324_unguarded; do numbers_in "$table"; done | sort -u); do
        [[ $number != "$1" ]] || continue
        { "$built/bip324-setup" block --dry-run 2>/dev/null || true; } |
            sed "s/bip324_block/bip324_block_$number/; s/skgid \"[^\"]*\"/skgid $number/" | nft -f -
        stands "bip324_block_$number" || die 75 "not installed: gid $number cannot be refused until the rules stand"
    done
}

# Those that the redirect, which has been proved, sees to.
drop_needless_blocks() {
    local number
    for number in $(numbers_in bip324); do
        ! stands "bip324_block_$number" || nft delete table inet "bip324_block_$number"
    done
}

say_who_is_refused() {
    local number
    for number in $(tables | sed -n 's/^bip324_block_//p'); do
        say "until the next boot, Bitcoin connections of gid $number are refused: programs may still run under" \
            "it that group $group had started"
    done
}

remove_tables() {
    local table numbers number
    numbers=$(for table in $(tables); do numbers_in "$table"; done)
    if [[ -x $setup ]]; then
        "$setup" down >/dev/null || die 75 'the rules cannot be removed: end what holds them, and come again'
    elif ! command -v nft >/dev/null; then
        say 'there is no nft to remove table inet bip324_block with: it goes with the next boot'
    fi
    for table in $(tables); do
        nft delete table inet "$table" || say "table inet $table stays until the next boot"
    done
    sort -u <<<"$numbers" | while read -r number; do
        [[ -z $number ]] || warn_of_holders "$number"
    done
}

# Ours, where there is an nft to ask: the programs do without.
tables() {
    command -v nft >/dev/null || return 0
    nft list tables inet | awk '$3 ~ /^bip324(_block(_[0-9]+)?|_unguarded)?$/ { print $3 }'
}

stands() { nft list table inet "$1" >/dev/null 2>&1; }

# Groups that the table matches.
numbers_in() {
    { nft list table inet "$1" 2>/dev/null || true; } | sed -n 's/.*meta skgid \([0-9][0-9]*\) .*/\1/p'
}

warn_of_holders() {
    local status pid name
    for status in /proc/[0-9]*/status; do
        awk -v gid="$1" '
            $1 == "Name:" { name = $2 }
            $1 == "Pid:" { pid = $2 }
            $1 == "Gid:" { held = $2 == gid || $3 == gid || $4 == gid || $5 == gid }
            END { if (held) print pid, name }' "$status" 2>/dev/null || true
    done | while read -r pid name; do
        say "process $pid ($name) still runs under gid $1, which was refused: FROM NOW ON IT CONNECTS IN PLAINTEXT"
    done
}
