# shellcheck shell=bash disable=SC2154
# Debian's packages: those of this machine's own suite are installed; those of unstable are
# unpacked into a folder, and leave the system as it is. Sourced by scripts/get.

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: $*"
    fi
}

# apt_need PACKAGE...: installs those that are missing.
apt_need() {
    local missing
    mapfile -t missing < <(apt_missing "$@")
    [[ ${#missing[@]} -gt 0 ]] || return 0
    apt_update
    quietly apt as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"
    say "Debian packages: installed ${missing[*]}"
}

apt_missing() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            printf '%s\n' "$package"
    done
}

# Once per run, and only when something is to be installed.
apt_update() {
    [[ -z ${apt_updated:-} ]] || return 0
    quietly apt as_root apt-get update
    apt_updated=yes
}

# unpack_from_sid FOLDER PACKAGE...: downloads the packages of Debian unstable and everything
# that they depend on, down to libc, and unpacks all of it into FOLDER.
unpack_from_sid() {
    local folder=$1 state=$real/apt
    shift
    rm -rf "$state"
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/parts"
    debian_source sid >"$state/sources.list"
    local -a apt=(apt-get
        -o "Dir::Etc::SourceList=$state/sources.list" -o "Dir::Etc::SourceParts=$state/parts"
        -o "Dir::Etc::Preferences=/dev/null" -o "Dir::Etc::PreferencesParts=$state/parts"
        -o "Dir::State=$state" -o "Dir::State::Lists=$state/lists" -o Dir::State::status=/dev/null
        -o "Dir::Cache=$state/cache" -o "APT::Sandbox::User=$(id -un)" -o Debug::NoLocking=1
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        # A mirror that lags or is a snapshot will do; signatures are checked all the same.
        -o Acquire::Check-Valid-Until=false)
    quietly apt "${apt[@]}" update
    quietly apt "${apt[@]}" install -y --no-install-recommends --download-only "$@"
    local package
    for package in "$state"/cache/archives/*.deb; do
        quietly apt dpkg -x "$package" "$folder"
    done
    rm -rf "$state"
}

# debian_source SUITE: a source line for it, from the mirror and with the keys that this machine's own
# Debian comes from. apt itself reads the sources, so both of their file formats are covered.
debian_source() {
    local suite entry uri keys
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016  # apt expands these
    entry=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI) $(SOURCESENTRY)' \
        'Created-By: Packages' 'Component: main' |
        awk -v suite="$suite" '
            $1 == suite { own = $0; exit }
            $1 ~ /^(stable|testing|unstable|sid)$/ && !other { other = $0 }
            END { print own ? own : other }')
    [[ -n $entry ]] || die "apt's sources name no Debian mirror for '$suite'"
    read -r _ uri entry <<<"$entry"
    keys=$(signing_keys "${entry%:*}")
    printf 'deb %s%s %s main\n' "${keys:+[signed-by=$keys] }" "$uri" "$1"
}

# signing_keys FILE: the keyring that a .list or .sources file names, if it does.
signing_keys() {
    sed -nE 's/^.*[Ss]igned-[Bb]y[:=] *(\/[^] ]+).*$/\1/p' "$1" | head -n 1
}

# unpacked_wrapper NAME FOLDER PROGRAM: a wrapper for what unpack_from_sid put into
# $real/FOLDER, started by that folder's own loader and libraries.
unpacked_wrapper() {
    local name=$1 folder=$2 program=$3 loader
    loader=$(cd "$real" && printf '%s\n' "$folder"/usr/lib/*/ld-linux-*.so.* | head -n 1)
    wrapper "$name" "@/$loader" --library-path "@/$(dirname "$loader")" "@/$folder/$program"
}
