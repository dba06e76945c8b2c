# shellcheck shell=bash disable=SC2154
# bcoin, the JavaScript client. Sourced by scripts/get.

# What was built on another machine may be here without the node that starts it.
get_bcoin() {
    need_node
    install_once bcoin "$(fingerprint "$clients"/bcoin/package*.json) $(command -v node)" build_bcoin
}

build_bcoin() {
    cp "$clients"/bcoin/package*.json "$real/bcoin/"
    # Of the native add-ons only mrmr is needed: leveldown brings its own, the others have a
    # fallback in JavaScript.
    npm_quietly ci --ignore-scripts
    npm_quietly rebuild mrmr
    rm -rf "$real/bcoin/cache"
    # Not the npm launcher: the file itself, started by the node that built it.
    wrapper bcoin-spvnode "$(command -v node)" @/bcoin/node_modules/bcoin/bin/spvnode
}

need_node() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        apt_need nodejs npm
    fi
    # Add-ons are compiled against the headers beside node; node-gyp would download its own.
    nodedir=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
    if [[ $nodedir == /usr && ! -e /usr/include/node/node.h ]]; then
        apt_need libnode-dev
    fi
    command -v python3 >/dev/null || apt_need python3
    command -v g++ >/dev/null || apt_need g++
    command -v make >/dev/null || apt_need make
}

npm_quietly() {
    local -a headers=()
    if [[ -e $nodedir/include/node/node.h ]]; then
        headers=("npm_config_nodedir=$nodedir")
    fi
    quietly bcoin env "${headers[@]}" npm_config_update_notifier=false npm_config_audit=false \
        npm --prefix "$real/bcoin" --cache "$real/bcoin/cache" "$@"
}
