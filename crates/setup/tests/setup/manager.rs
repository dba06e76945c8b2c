//! A stand-in for the service manager: it hears what a service notifies, keeps the descriptors that
//! it stores, and passes them to the next one.

use std::fs::{self, Permissions};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use socket2::{SockFilter, SockRef};

use crate::guard::Guard;
use crate::netns::{Netns, PATIENCE, SETUP};

/// Arguments: names of descriptors, then a command. The descriptors are those that the shell has as
/// its standard input and output; the command's output goes where its complaints go.
const PASS: &str = r#"
    test -z "$0" ||
        export LISTEN_PID=$$ LISTEN_FDNAMES="$0" LISTEN_FDS=$(echo "$0" | tr : ' ' | wc -w)
    exec "$@" 3<&0 4>&1 0</dev/null 1>&2
"#;

/// A service manager with one service.
pub(crate) struct Manager<'a> {
    netns: &'a Netns,
    notifications: UnixDatagram,
    /// It wants to hear of its service every 200 ms.
    pub(crate) watches: bool,
    /// The command that gives its service a user.
    pub(crate) caller: Vec<&'static str>,
    /// The file descriptor store.
    pub(crate) store: Vec<OwnedFd>,
    /// All that was notified, in order.
    pub(crate) heard: Vec<String>,
}

impl<'a> Manager<'a> {
    pub(crate) fn new(netns: &'a Netns) -> Self {
        let notifications = UnixDatagram::bind(netns.etc_path("notify")).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = netns.etc_path("notify");
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        let (caller, store, heard) = (Vec::new(), Vec::new(), Vec::new());
        Self { netns, notifications, watches: false, caller, store, heard }
    }

    /// Starts a guard with what is in the store; returns once it is ready.
    pub(crate) fn start(&mut self, arguments: &[&str]) -> Guard {
        let names = vec!["nft"; self.store.len()].join(":");
        self.start_with(&names, arguments)
    }

    /// As [`Manager::start`], with these names for the first and second in the store, or for files
    /// in their place.
    pub(crate) fn start_with(&mut self, names: &str, arguments: &[&str]) -> Guard {
        let shell = ["sh", "-c", PASS, names, SETUP, "guard"];
        let words = [&self.caller[..], &shell, arguments].concat();
        let mut command = self.netns.command(&words);
        command.env("NOTIFY_SOCKET", "/etc/notify");
        if self.watches {
            command.env("WATCHDOG_USEC", "200000");
        }
        let stored = |index| match self.store.get(index) {
            Some(stored) => Stdio::from(OwnedFd::try_clone(stored).unwrap()),
            None => Stdio::null(),
        };
        command.stdin(stored(0)).stdout(stored(1));
        let guard = Guard::spawn(command);
        self.wait_for("READY=1");
        guard
    }

    /// Has a guard read its configuration again; returns once it is ready.
    pub(crate) fn reload(&mut self, guard: &Guard) {
        guard.signal(Signal::SIGHUP);
        self.wait_for("RELOADING=1");
        self.wait_for("READY=1");
    }

    /// Receives until a notification has that line; returns it.
    pub(crate) fn wait_for(&mut self, line: &str) -> String {
        loop {
            while !self.receive() {}
            let last = self.heard.last().unwrap();
            if last.lines().any(|found| found == line) {
                return last.clone();
            }
        }
    }

    /// How often that line was notified.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.heard.iter().flat_map(|text| text.lines()).filter(|found| *found == line).count()
    }

    /// Receives a notification, unless interrupted.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let mut space = cmsg_space!([RawFd; 4]);
        let fd = self.notifications.as_raw_fd();
        // Another test's child would keep open what this one is to close.
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(fd, &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => return false,
            received => received.unwrap_or_else(|error| panic!("{error} after {:?}", self.heard)),
        };
        let length = message.bytes;
        let mut passed: Vec<OwnedFd> = Vec::new();
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                // SAFETY: the kernel has just made them for this process.
                passed.extend(descriptors.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
            }
        }
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if text.lines().any(|line| line == "FDSTORE=1") {
            assert!(text.contains("FDNAME=nft\n") && text.contains("FDPOLL=0\n"), "{text}");
            self.store.append(&mut passed);
        }
        if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
            self.store.clear();
        }
        self.heard.push(text);
        true
    }
}

/// A netlink socket that hears nothing, or messages of one kind only, until this is dropped.
pub(crate) struct Deaf<'a>(&'a OwnedFd);

impl<'a> Deaf<'a> {
    /// From now on an answer is waited for 20 ms only, and only those of `kind` arrive.
    pub(crate) fn to_all_but(socket: &'a OwnedFd, kind: Option<u16>) -> Self {
        // linux/filter.h: the kind is the third half-word of a message, and loaded as big-endian.
        let load = SockFilter::new((libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16, 0, 0, 4);
        let kind = kind.map_or(u32::MAX, |kind| u16::from_be_bytes(kind.to_ne_bytes()).into());
        let compare = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        let compare = SockFilter::new(compare, 0, 1, kind);
        let take = |bytes| SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, bytes);
        let program = [load, compare, take(u32::MAX), take(0)];
        let reference = SockRef::from(socket);
        reference.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        reference.attach_filter(&program).unwrap();
        Self(socket)
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        let reference = SockRef::from(self.0);
        reference.detach_filter().unwrap();
        reference.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}
