
# After the options: any command, and then whatever completes that command's arguments.
complete -c bip324-run -x -a '(__fish_complete_subcommand -- --group --listen-port)'
