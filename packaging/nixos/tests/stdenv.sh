# shellcheck shell=bash disable=SC2154
# What of nixpkgs' stdenv and installShellFiles ../package.nix calls after the build, into $out.
# Sourced by scripts/check-nix.

substituteInPlace() {
    local file text files=()
    while [[ $1 != --* ]]; do
        files+=("$1")
        shift
    done
    while [[ $# -gt 0 ]]; do
        [[ $1 = --replace-fail && $# -ge 3 ]] || return 1
        for file in "${files[@]}"; do
            text=$(<"$file")
            [[ $text = *"$2"* ]] || { echo "no $2 in $file" >&2 && return 1; }
            printf '%s\n' "${text//"$2"/"$3"}" >"$file"
        done
        shift 3
    done
}

installManPage() {
    local page
    for page; do
        install -D -m 644 -t "$out/share/man/man${page##*.}" "$page"
    done
}

installShellCompletion() {
    local folder=''
    while [[ $# -gt 0 ]]; do
        case $1 in
            --bash) folder=bash-completion/completions ;;
            --fish) folder=fish/vendor_completions.d ;;
            --zsh) folder=zsh/site-functions ;;
            *) [[ -n $folder ]] && install -D -m 644 -t "$out/share/$folder" "$1" || return ;;
        esac
        shift
    done
}
