//! Network namespaces, and the veth pair that joins two of them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{panic, process, thread};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, setfsgid};

use crate::process::output;

/// Name of the veth device at both ends.
pub const WIRE: &str = "wire";

/// Address family of a test's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4, 203.0.113.0/24.
    V4,
    /// IPv6, fd00:b324::/64. Bitcoin Core never dials 2001:db8::/32.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Address of the host under test.
    pub const fn host(self) -> IpAddr {
        self.address(1)
    }

    /// Address of the peer.
    pub const fn peer(self) -> IpAddr {
        self.address(2)
    }

    /// The address of this number in the network that the wire joins: 1 is the host's, 2 the peer's.
    pub const fn address(self, last: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0xb324, 0, 0, 0, 0, 0, last as u16)),
        }
    }

    const fn prefix(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }
}

/// A network namespace with `lo` up. Dropping it ends every process in it and removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace. Its name holds our process id, a number and `role`, so it is unique.
    ///
    /// # Errors
    ///
    /// Where `ip` fails, for one without CAP_SYS_ADMIN.
    pub fn create(role: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bip324-test-{}-{number}-{role}", process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        ip(&["-n", namespace.name(), "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name that `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run `program` inside, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `work` inside, on a thread of its own, because a thread cannot safely come back.
    /// Sockets it returns stay in the namespace.
    ///
    /// # Errors
    ///
    /// Where the namespace cannot be entered, and those of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        let entrance = File::open(&path).with_context(|| path)?;
        let inside = move || {
            setns(entrance, CloneFlags::CLONE_NEWNET).context("setns")?;
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|p| panic::resume_unwind(p))
    }

    /// As [`Self::run`], with `group` as the file system group of the thread: the group that the
    /// kernel notes on a socket, and that `meta skgid` reads.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_as_group<T: Send>(
        &self,
        group: Gid,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        self.run(move || {
            setfsgid(group);
            work()
        })
    }

    /// Gives the end of the wire in this namespace one more address.
    ///
    /// # Errors
    ///
    /// Where `ip` fails.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        assign(&self.name, address, family.prefix())
    }

    fn processes(&self) -> Vec<Pid> {
        let listed = Command::new("ip").args(["netns", "pids", &self.name]).output();
        let text = listed.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok().map(Pid::from_raw))
            .collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if keep() {
            eprintln!("kept: ip netns exec {} bash", self.name);
            return;
        }
        // A client behind `sudo` or `sg` is not in the process group that we started.
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

/// Joins the two namespaces by a veth pair, named [`WIRE`] at both ends, with both families. Packets
/// are as long as on a real wire, not 64 KiB, for which a capture would soon have no room.
///
/// # Errors
///
/// Where `ip` fails.
pub fn join(host: &Namespace, peer: &Namespace) -> Result<()> {
    let (host, peer) = (host.name(), peer.name());
    ip(&[
        "-n", host, "link", "add", "name", WIRE, "type", "veth", "peer", "name", WIRE, "netns",
        peer,
    ])?;
    for family in Family::BOTH {
        assign(host, family.host(), family.prefix())?;
        assign(peer, family.peer(), family.prefix())?;
    }
    for namespace in [host, peer] {
        ip(&["-n", namespace, "link", "set", WIRE, "gso_max_segs", "1", "up"])?;
    }
    Ok(())
}

/// Lets packets between the two be as long as the kernel makes them, as with network cards that cut
/// them up themselves.
///
/// # Errors
///
/// Where `ip` fails.
pub fn let_packets_be_long(host: &Namespace, peer: &Namespace) -> Result<()> {
    [host, peer].iter().try_for_each(|namespace| {
        ip(&["-n", namespace.name(), "link", "set", WIRE, "gso_max_segs", "65535"])
    })
}

/// Whether namespaces and folders are to be left behind for a look (`BIP324_TEST_KEEP` is set).
pub(crate) fn keep() -> bool {
    std::env::var_os("BIP324_TEST_KEEP").is_some()
}

fn assign(namespace: &str, address: IpAddr, prefix: u8) -> Result<()> {
    let address = format!("{address}/{prefix}");
    let mut arguments = vec!["-n", namespace, "addr", "add", &address, "dev", WIRE];
    if address.contains(':') {
        // Duplicate detection would leave the address unusable for a second.
        arguments.push("nodad");
    }
    ip(&arguments)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments);
    output(command).map(drop)
}
