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
    local number
    for number in $(for table in bip324 bip324_block bip324_unguarded; do numbers_in "$table"; done | sort -u); do
        [[ $number == "$1" ]] || keep_refusing "$number"
    done
}

# keep_refusing NUMBER: as much of it as the tables see to that stand, whatever the configuration says by now.
keep_refusing() {
    local table stood block=bip324-block ports
    stood=$(for table in bip324 bip324_block bip324_unguarded "bip324_block_$1"; do
        ! sees_to "$table" "$1" || nft list table inet "$table"
    done | tr '\n' ' ')
    [[ $stood != *"meta skgid $1 meta l4proto"* ]] || block=bip324-block-all
    ports=$({ grep -o 'elements = {[^}]*}' <<<"$stood" || true; } | tr -dc '0-9,\n' | paste -sd ,)
    sed "s/bip324_block/bip324_block_$1/; s/skgid \"bip324\"/skgid $1/; s/8333/${ports:-8333}/" "$root/nft/$block.nft" |
        nft -f - || true
    stands "bip324_block_$1" || die 75 "gid $1 cannot be refused until the rules stand"
}

# The configured group's, once the redirect or the block sees to it: these follow what is configured. Any
# other number's stays, for nothing else refuses it once the guard reloads.
drop_needless_block() {
    local number
    number=$(number_of "$(configured_group)")
    if stands "bip324_block_$number" && { sees_to bip324 "$number" || sees_to bip324_block "$number"; }; then
        nft delete table inet "bip324_block_$number"
    fi
}

say_who_is_refused() {
    local number what
    for number in $(tables | sed -n 's/^bip324_block_//p'); do
        what='Bitcoin connections'
        [[ $(nft list table inet "bip324_block_$number") != *"skgid $number meta l4proto"* ]] ||
            what='all TCP connections'
        say "until the next boot, $what of gid $number are refused: programs may still run under it" \
            "whose connections were redirected or refused before"
    done
}

# What the configuration says, as far as it can be read. Otherwise, as the guard guesses: whom the rules are
# about which stand.
configured_group() {
    local asked name gid usable=yes
    asked=$("$setup" block --dry-run 2>/dev/null) || usable=''
    name=$(sed -n 's/.*meta skgid "\([^"]*\)".*/\1/p' <<<"$asked" | sort -u)
    if [[ -z $usable && $name == "$group" ]]; then
        for gid in $(numbers_in bip324; numbers_in bip324_block); do
            ! getent group "$gid" >/dev/null || { name=$(getent group "$gid" | cut -d : -f 1) && break; }
        done
    fi
    printf '%s\n' "${name:-$group}"
}

# sees_to TABLE NUMBER
sees_to() { grep -qx "$2" <<<"$(numbers_in "$1")"; }

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
