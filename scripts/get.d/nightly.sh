# shellcheck shell=bash
# Nightly Rust, which fuzzing and the sanitizers need and nothing else. Stands on its own, for
# scripts to source.

# need_nightly SCRIPT COMPONENT...: installs what is missing, or says why SCRIPT cannot go on.
need_nightly() {
    local script=$1
    shift
    if ! command -v rustup >/dev/null; then
        printf '%s: nightly Rust is needed, and only rustup has it: install rustup %s\n' "$script" \
            "(https://rustup.rs, or Debian 13's package) and run this again" >&2
        exit 69 # EX_UNAVAILABLE
    fi
    rustup toolchain list | grep -q '^nightly-' ||
        rustup toolchain install nightly --profile minimal --no-self-update
    [[ $# -eq 0 ]] || rustup component add --toolchain nightly "$@"
}

# nightly COMMAND...: runs it with that toolchain, whichever cargo is first on PATH.
nightly() {
    rustup run nightly "$@"
}
