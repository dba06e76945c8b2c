# shellcheck shell=bash disable=SC2154
# Debian systems to boot, as tar files. Sourced by scripts/acceptance, which sets $root and $cache.

# What a small server has, and what the package and its tests need, so that a system without a way to
# the world can install it.
packages=systemd,systemd-sysv,dbus,libpam-systemd,sudo,nftables,iproute2,procps,passwd,login,apt

get_tools() (
    source_apt
    apt_need mmdebstrap systemd-container debian-archive-keyring
)

# Within a subshell: it has a `die` and a `quietly` of its own.
source_apt() {
    # For the log of what they install.
    real=$(realpath -m "${REAL_DIR:-$root/target/real}")
    # shellcheck source=scripts/get.d/install.sh
    . "$root/scripts/get.d/install.sh"
    # shellcheck source=scripts/get.d/apt.sh
    . "$root/scripts/get.d/apt.sh"
}

# make_tree RELEASE: $cache/RELEASE.tar, unless it is there and was made in the same way.
make_tree() (
    release=$1 tar=$cache/$1.tar
    mark=$(sha256sum <"$parts/tree.sh")
    [[ -e $tar && $(cat "$tar.mark" 2>/dev/null) == "$mark" ]] && exit
    extra=()
    # firewalld owns its table, too, since Debian 13.
    [[ $release == bookworm ]] || extra=(--customize-hook="$(download firewalld)")
    source_apt
    debian_source "$release" | mmdebstrap --format=tar --variant=minbase --include="$packages" "${extra[@]}" \
        "$release" "$tar.new" - || exit
    mv "$tar.new" "$tar"
    printf '%s\n' "$mark" >"$tar.mark"
)

# download PACKAGE...: a hook that leaves them, with what they need, in /srv/later.
download() {
    # shellcheck disable=SC2016  # expands in mmdebstrap
    printf '%s' 'rm -f "$1"/var/cache/apt/archives/*.deb && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get' \
        " install --yes --no-install-recommends --download-only $* &&" \
        ' mkdir "$1/srv/later" && mv "$1"/var/cache/apt/archives/*.deb "$1/srv/later"'
}
