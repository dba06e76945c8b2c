//! The program against a real kernel. Needs root, iproute2, nftables, tcpdump, util-linux and the
//! passwd package; a test fails where one is missing.

#[cfg(test)]
mod bound; // sockets that are bound to a device
#[cfg(test)]
mod caller; // who may run it: capabilities and the group
#[cfg(test)]
mod check; // `check`, and each way in which it can fail
#[cfg(test)]
mod daemon; // a stand-in for the daemon
#[cfg(test)]
mod netns; // namespaces, users and captures
#[cfg(test)]
mod redirect; // where packets go
#[cfg(test)]
mod rules; // `up`, `down` and `status` against the kernel's tables
