# shellcheck shell=bash disable=SC2154
# The crates in the programs, as CycloneDX. Sourced by scripts/release.

make_sbom() {
    local package source=$work/sbom
    mkdir "$source"
    tar -xf "$tarball" --strip-components=1 -C "$source"
    # With the time of the commit and without a random number: the same bytes each time.
    SOURCE_DATE_EPOCH=$(git_here log -1 --format=%ct "$commit") "$real/bin/cargo-cyclonedx" cyclonedx \
        --manifest-path "$source/Cargo.toml" --format json --spec-version 1.5 --describe crate \
        --target x86_64-unknown-linux-gnu --no-build-deps
    for package in proxy setup ctl; do
        # Names of the project's own crates hold the folder that they are in.
        sed "s,file://$source,file:///bip324-proxy,g" "$source/crates/$package/bip324-$package.cdx.json" \
            >"$output/bip324-$package-$version.cdx.json"
    done
    local architecture
    for architecture in amd64 arm64; do
        complete proxy bip324-proxy "$architecture"
        complete setup bip324-setup "$architecture"
        complete setup bip324-run "$architecture"
        complete ctl bip324ctl "$architecture"
    done
}

# complete PACKAGE PROGRAM ARCHITECTURE: fails where cargo-auditable put a crate into the program that the
# SBOM of the package does not list.
complete() {
    local missing
    linked "$2" "$3" >"$work/linked"
    [[ -s $work/linked ]] || fail "$2 for $3 does not say what is in it"
    missing=$(jq -r '.components[] | .name + " " + .version' "$output/bip324-$1-$version.cdx.json" |
        LC_ALL=C sort -u | LC_ALL=C comm -23 "$work/linked" -)
    [[ -z $missing ]] || fail "not in the SBOM of bip324-$1: $missing"
    echo "$2 for $3: all of $(wc -l <"$work/linked") crates are in the SBOM"
}

# linked PROGRAM ARCHITECTURE: its crates, as it says itself (section .dep-v0).
linked() {
    in_builder "$(gnu_of "$2")-objcopy" --dump-section .dep-v0=dep-v0 "programs-$2/$1" copy
    perl -MCompress::Zlib -0777 -ne 'print uncompress($_)' "$work/build/dep-v0" |
        jq -r '.packages[] | select(.root | not) | select(.kind != "build") | .name + " " + .version' |
        LC_ALL=C sort -u
}
