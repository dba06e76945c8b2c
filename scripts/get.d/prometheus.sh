# shellcheck shell=bash disable=SC2154
# What reads metrics: Debian's Prometheus, and the parser of its Python client. Sourced by scripts/get.

get_prometheus() {
    apt_need python3-prometheus-client
    install_once prometheus "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" unpack_prometheus
}

# Not installed: that would start a service. Of libraries it needs libc alone.
unpack_prometheus() {
    local folder=$real/prometheus
    apt_update
    (cd "$folder" && quietly apt apt-get -o "APT::Sandbox::User=$(id -un)" download prometheus)
    quietly apt dpkg -x "$folder"/prometheus_*.deb "$folder"
    rm "$folder"/prometheus_*.deb
    wrapper prometheus @/prometheus/usr/bin/prometheus
}
