# shellcheck shell=bash
# A throw-away copy of this system to work in. Sourced, in mount, network and process namespaces of its own.

# mount_overlay: in $overlay, with an empty /tmp. No systemd runs in there, whatever runs outside.
mount_overlay() {
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/{upper,inner,root}
    overlay=/mnt/root
    mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/inner overlay "$overlay"
    mount --rbind /dev "$overlay/dev"
    mount -t proc proc "$overlay/proc"
    mount -t tmpfs tmpfs "$overlay/run"
    mount -t tmpfs tmpfs "$overlay/tmp"
}

# enter_overlay: this shell, and all that it starts from now on.
enter_overlay() {
    cd "$overlay" || return
    pivot_root . mnt
    umount --lazy /mnt
    cd /
}
