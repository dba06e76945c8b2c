
# After the options: any command, and then whatever completes that command's arguments.
_bip324_run_client() {
    local at
    for ((at = 1; at <= COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --group | --listen-port) [[ ${COMP_WORDS[at + 1]-} != '=' ]] && ((at++)) ;;
            = | -*) [[ ${COMP_WORDS[at]} == '=' ]] && ((at++)) ;;
            *) _command_offset "$at" && return ;;
        esac
    done
    _bip324__run "$@"
}

complete -F _bip324_run_client -o bashdefault -o default bip324-run
