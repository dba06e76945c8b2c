# shellcheck shell=bash disable=SC2154
# The Debian 12 that packages are built in, for both architectures. Sourced by scripts/release.

# Debian 12 has a Rust for its web browsers that is new enough. qemu-user runs what is built for arm64.
builder_packages=(build-essential crossbuild-essential-arm64 cargo-web rustc-web
    libstd-rust-web-dev:arm64 ca-certificates debhelper dh-apparmor pkgconf
    libmnl-dev libnftnl-dev libmnl-dev:arm64 libnftnl-dev:arm64 qemu-user-static)

# 0.7.7 needs a newer Rust than this Debian's.
auditable_version=0.7.0

# Made once. cargo-auditable is no package in Debian 12.
make_builder() {
    builder=$cache/builder-$(printf '%s\n' "${builder_packages[@]}" "$auditable_version" |
        sha256sum | cut -c 1-16)
    [[ ! -e $builder ]] || return 0
    local list part=$builder.part
    list=$(IFS=, && echo "${builder_packages[*]}")
    rm -rf "$part"
    mkdir -p "$cache"
    mmdebstrap --quiet --variant=minbase --architectures=amd64,arm64 --include="$list" \
        --aptopt='APT::Install-Recommends "false"' bookworm "$part" "$(debian_source bookworm)"
    mkdir "$part"/{build,cargo}
    in_tree "$part" --mount cargo install --quiet --locked --root /usr/local \
        cargo-auditable --version "$auditable_version"
    mv "$part" "$builder"
}

# in_builder COMMAND...: without this machine's network.
in_builder() { in_tree "$builder" --net "$@"; }

# in_tree TREE NAMESPACE COMMAND...: in /build, which is always empty at first, with this machine's crates
# and nothing of its environment.
in_tree() {
    local tree=$1 namespace=$2
    shift 2
    mkdir -p "$work/build"
    # shellcheck disable=SC2016  # for the inner shell
    unshare --mount "$namespace" --pid --fork --kill-child --propagation private bash -euc '
        tree=$1
        mount --bind "$2" "$tree/build"
        mount --bind "$3" "$tree/cargo"
        mount --bind /etc/ssl/certs "$tree/etc/ssl/certs"
        mount -t proc proc "$tree/proc"
        shift 3
        exec chroot "$tree" env --ignore-environment --chdir=/build HOME=/root LC_ALL=C.UTF-8 \
            PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            CARGO_HOME=/cargo CARGO_TARGET_DIR=/build/cargo "$@"' in_tree \
        "$tree" "$work/build" "${CARGO_HOME:-$HOME/.cargo}" "$@"
}

# build_package ARCHITECTURE [OPTION...]
build_package() {
    local architecture=$1 source=$work/build/source
    shift
    rm -rf "$source"
    mkdir -p "$source" "$(programs_of "$architecture")"
    tar -xf "$tarball" --strip-components=1 --no-same-owner -C "$source"
    mv "$source/packaging/debian" "$source/debian"
    in_builder env --chdir=source dpkg-buildpackage --build=binary --unsigned-changes --no-check-builddeps \
        --host-arch="$architecture" "$@"
    cp "$work"/build/bip324-proxy*_"$version"_"$architecture".{deb,buildinfo} "$output"
    cp "$work/build/cargo/$(target_of "$architecture")"/release/bip324{-proxy,-setup,-run,ctl} \
        "$(programs_of "$architecture")"
}

gnu_of() {
    case $1 in
        amd64) echo x86_64-linux-gnu ;;
        arm64) echo aarch64-linux-gnu ;;
    esac
}

target_of() { gnu_of "$1" | sed 's/-/-unknown-/'; }

programs_of() { echo "$work/build/programs-$1"; }

# Says only that they load and run: what they do is tested on amd64.
try_arm64() {
    local program
    for program in bip324-proxy bip324-setup bip324-run bip324ctl; do
        in_builder qemu-aarch64-static "programs-arm64/$program" --version
    done
    in_builder qemu-aarch64-static programs-arm64/bip324-proxy --check-config
    in_builder qemu-aarch64-static programs-arm64/bip324-setup up --dry-run | cmp - nft/bip324.nft
}
