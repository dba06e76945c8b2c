//! The program against a real kernel. Needs root, iproute2, nftables, tcpdump, util-linux and the
//! passwd package; a test fails where one is missing.

#[cfg(test)]
mod block; // `block`: beneath what stands, and without a configuration
#[cfg(test)]
mod bound; // sockets that are bound to a device
#[cfg(test)]
mod caller; // who may run it: capabilities and the group
#[cfg(test)]
mod check; // `check`, and each way in which it can fail
#[cfg(test)]
mod daemon; // a stand-in for the daemon
#[cfg(test)]
mod files; // the configuration files that nobody names
#[cfg(test)]
mod guard; // `guard`: what others can do to its table, how it goes, what it leaves
#[cfg(test)]
mod guard_asked; // `guard`, as those see it who ask which one runs
#[cfg(test)]
mod guard_managed; // `guard` under a service manager that keeps its socket
#[cfg(test)]
mod guard_reload; // `guard` and its configuration file
#[cfg(test)]
mod guard_shut; // `guard` where its configuration cannot be used
#[cfg(test)]
mod guard_watch; // `guard` where the kernel knows no owners
#[cfg(test)]
mod launch; // `bip324-run`, and what the command gets from it
#[cfg(test)]
mod launch_refused; // `bip324-run`, and when it starts nothing
#[cfg(test)]
mod launch_wrapped; // `bip324-run`, started by a wrapper as on NixOS
#[cfg(test)]
mod manager; // a stand-in for the service manager
#[cfg(test)]
mod netns; // namespaces, users and captures
#[cfg(test)]
mod redirect; // where packets go
#[cfg(test)]
mod rules; // `up`, `down` and `status` against the kernel's tables
