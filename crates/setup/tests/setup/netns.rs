//! Network namespaces of their own for the tests, with users and groups of their own: nothing of
//! the host is touched. Needs root.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, setfsgid, setfsuid};

/// The group of the tests, in their own /etc/group only.
pub(crate) const GROUP: &str = "bip324";
/// Its gid.
pub(crate) const GID: u32 = 43_240;
/// A gid that is not the group's.
pub(crate) const OTHER_GID: u32 = 43_241;
/// An unprivileged user, alice.
pub(crate) const USER: u32 = 43_242;
/// The daemon's user, _bip324.
pub(crate) const DAEMON: u32 = 43_243;
/// Another unprivileged user, mallory.
pub(crate) const MALLORY: u32 = 43_244;

/// Runs the command that follows as that user, in no group but its own, without capabilities.
pub(crate) const UNPRIVILEGED: [&str; 5] =
    ["setpriv", "--reuid=43242", "--regid=43242", "--clear-groups", "--"];

/// The program under test, where every user can reach it: the checkout may lie in a private folder.
pub(crate) const SETUP: &str = "/etc/bip324-setup";

/// How long a condition may take to come true, on a loaded two-core machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The tables while a guard owns the redirect. Where that ends with its owner, the block is beneath it.
pub(crate) fn guarded_tables() -> Vec<&'static str> {
    if tables_persist() { vec!["inet bip324"] } else { vec!["inet bip324", "inet bip324_block"] }
}

/// Whether a table of this kernel can outlive its owner, as from Linux 6.9 on.
pub(crate) fn tables_persist() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    [numbers.next(), numbers.next()] >= [Some(6), Some(9)]
}

/// A network namespace, and an /etc that commands in it see.
pub(crate) struct Netns {
    name: String,
    etc: PathBuf,
}

impl Netns {
    /// Makes a namespace with `lo` up and the group in place.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes network namespaces: run it as root"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bip324-setup-{}-{count}", std::process::id());
        let netns = Self { etc: std::env::temp_dir().join(&name), name };
        netns.make_etc();
        expect(&["ip", "netns", "add", &netns.name]);
        expect(&["ip", "-n", &netns.name, "link", "set", "lo", "up"]);
        netns
    }

    fn make_etc(&self) {
        // All users read it, whatever the caller's umask.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        fs::create_dir(&self.etc).unwrap();
        // The mount point of the program.
        self.write_etc("bip324-setup", "");
        for file in ["login.defs", "nsswitch.conf"] {
            fs::copy(format!("/etc/{file}"), self.etc.join(file)).unwrap();
        }
        let mut users = "root:x:0:0::/:/bin/sh\n".to_owned();
        for (name, id) in [("alice", USER), ("_bip324", DAEMON), ("mallory", MALLORY)] {
            users += &format!("{name}:x:{id}:{id}::/:/bin/sh\n");
        }
        self.write_etc("passwd", &users);
        self.write_etc("group", &format!("root:x:0:\nalice:x:{USER}:\n{GROUP}:x:{GID}:alice\n"));
        self.write_etc("gshadow", "");
        self.write_etc("shadow", "");
    }

    /// The path outside of this namespace of a file in its /etc.
    pub(crate) fn etc_path(&self, file: &str) -> PathBuf {
        self.etc.join(file)
    }

    /// Replaces a file of this namespace's /etc, and makes its folder.
    pub(crate) fn write_etc(&self, file: &str, text: &str) {
        let path = self.etc.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of this namespace's /etc.
    pub(crate) fn read_etc(&self, file: &str) -> String {
        fs::read_to_string(self.etc.join(file)).unwrap()
    }

    /// Whether this namespace's /etc has such a file.
    pub(crate) fn has_etc(&self, file: &str) -> bool {
        self.etc.join(file).exists()
    }

    /// A command in this namespace, with its /etc and [`SETUP`].
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name])
            .args(["unshare", "--mount", "sh", "-c", ENTER])
            .arg(&self.etc)
            .arg(env!("CARGO_BIN_EXE_bip324-setup"))
            .args(words)
            // Messages in English, and none about a locale that is not there.
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        output(self.command(words), words)
    }

    /// Runs a command that must succeed; returns what it printed.
    pub(crate) fn expect(&self, words: &[&str]) -> String {
        succeeded(&self.run(words), words)
    }

    /// Runs `bip324-setup` with arguments.
    pub(crate) fn setup(&self, arguments: &[&str]) -> Output {
        self.run(&[&[SETUP], arguments].concat())
    }

    /// Runs `bip324-setup` with arguments; it must succeed.
    pub(crate) fn setup_ok(&self, arguments: &[&str]) -> String {
        succeeded(&self.setup(arguments), arguments)
    }

    /// Fails, and says what to do, where an ordinary user cannot make user namespaces.
    pub(crate) fn require_user_namespaces(&self) {
        let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
        let output = self.run(&[&nobody[..], &["unshare", "--user", "true"]].concat());
        assert!(
            output.status.success(),
            "no user namespaces: run the tests outside of a chroot, with the sysctl \
             user.max_user_namespaces above 0 (kernel.unprivileged_userns_clone, too, where there \
             is one): {}",
            complaint(&output)
        );
    }

    /// The table as nft lists it, counters zeroed.
    pub(crate) fn table(&self) -> String {
        self.listing("bip324")
    }

    /// A table of the inet family as nft lists it, counters zeroed.
    pub(crate) fn listing(&self, table: &str) -> String {
        without_counts(&self.expect(&["nft", "list", "table", "inet", table]))
    }

    /// Whether the block has reset a packet.
    pub(crate) fn has_blocked(&self) -> bool {
        let chain = self.expect(&["nft", "list", "chain", "inet", "bip324_block", "block_output"]);
        chain.lines().any(|rule| rule.contains("tcp reset") && !rule.contains("packets 0 "))
    }

    /// The names of all tables, as nft lists them.
    pub(crate) fn tables(&self) -> Vec<String> {
        let listing = self.expect(&["nft", "list", "tables"]);
        listing.lines().map(|line| line.trim_start_matches("table ").to_owned()).collect()
    }

    /// Runs `work` on a thread within the namespace, with `gid` as the group of its sockets.
    pub(crate) fn with_group<T: Send>(&self, gid: u32, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                setfsgid(Gid::from_raw(gid));
                work()
            });
            inside.join().unwrap()
        })
    }

    /// Listens at `address` as the user `uid`.
    pub(crate) fn listen(&self, uid: u32, address: SocketAddr) -> TcpListener {
        let bind = || {
            setfsuid(Uid::from_raw(uid));
            let deadline = Instant::now() + PATIENCE;
            loop {
                match TcpListener::bind(address) {
                    // A child of another test has a copy of one before until it executes its program.
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {
                        assert!(Instant::now() < deadline, "{address}: {error}");
                        thread::sleep(Duration::from_millis(1));
                    }
                    bound => break bound,
                }
            }
        };
        self.with_group(0, bind).unwrap()
    }

    /// Moves this thread, for good, into the namespace.
    pub(crate) fn enter(&self) {
        let namespace = fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }

    fn processes(&self) -> Vec<Pid> {
        let listed = Command::new("ip").args(["netns", "pids", &self.name]).output();
        let text = listed.map(|output| output.stdout).unwrap_or_default();
        let pids = String::from_utf8_lossy(&text);
        pids.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
    }

    /// Joins two namespaces: 203.0.113.1 and fd00:b324::1 here, .2 and ::2 at `peer`.
    pub(crate) fn join(&self, peer: &Self) {
        let (ours, theirs) = (&self.name, &peer.name);
        expect(&[
            "ip", "-n", ours, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0",
            "netns", theirs,
        ]);
        for (name, host) in [(ours, 1), (theirs, 2)] {
            let v4 = format!("203.0.113.{host}/24");
            let v6 = format!("fd00:b324::{host}/64");
            expect(&["ip", "-n", name, "address", "add", &v4, "dev", "veth0"]);
            expect(&["ip", "-n", name, "address", "add", &v6, "dev", "veth0", "nodad"]);
            expect(&["ip", "-n", name, "link", "set", "veth0", "up"]);
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Those of a test that failed are still there, and would keep the namespace alive.
        for process in self.processes() {
            let _ = kill(process, Signal::SIGKILL);
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
        let _ = fs::remove_dir_all(&self.etc);
    }
}

/// Largest packet of a veth device with segmentation offload.
const PACKET_BYTES: &str = "65549";

/// The kernel sets aside the largest size for each packet: with tcpdump's own 2 MiB, 30 packets in
/// quick succession would already be too many.
const BUFFER_KIB: &str = "65536";

/// Arguments: the folder that becomes /etc, the program under test, and the command to run.
const ENTER: &str = r#"
    mount --bind "$0" /etc && mount --bind "$1" /etc/bip324-setup && shift && exec "$@"
"#;

/// The peer's address in a namespace joined to another.
pub(crate) fn peer(v6: bool, port: u16) -> SocketAddr {
    let v4 = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
    let ip = if v6 { IpAddr::V6(Ipv6Addr::new(0xfd00, 0xb324, 0, 0, 0, 0, 0, 2)) } else { v4 };
    SocketAddr::new(ip, port)
}

/// The loopback address.
pub(crate) fn loopback(v6: bool, port: u16) -> SocketAddr {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    SocketAddr::new(if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { v4 }, port)
}

/// A packet capture of a namespace's veth0, as long as it lives.
pub(crate) struct Capture {
    tcpdump: Child,
    log: BufReader<ChildStderr>,
    file: PathBuf,
}

impl Capture {
    /// Starts to capture; returns once it does.
    pub(crate) fn start(netns: &Netns) -> Self {
        let file = netns.etc.join("capture.pcap");
        let path = file.to_str().unwrap();
        let words = ["tcpdump", "-i", "veth0", "-n", "-U", "--immediate-mode", "-Z", "root"];
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &netns.name]).args(words);
        command.args(["-s", PACKET_BYTES, "-B", BUFFER_KIB, "-w", path]).stderr(Stdio::piped());
        let mut tcpdump = command.spawn().expect("cannot run ip: install iproute2 and tcpdump");
        let mut log = BufReader::new(tcpdump.stderr.take().unwrap());
        let listening = log.by_ref().lines().any(|line| line.unwrap().contains("listening on"));
        assert!(listening, "tcpdump does not start: install tcpdump");
        Self { tcpdump, log, file }
    }

    /// Ends it, and fails if it has missed a packet: only then does what it has not seen count.
    pub(crate) fn stop(&mut self) {
        kill(Pid::from_raw(self.tcpdump.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let mut summary = String::new();
        self.log.read_to_string(&mut summary).unwrap();
        assert!(summary.contains("\n0 packets dropped by kernel"), "tcpdump: {summary}");
    }

    /// How often `bytes` have been seen by now.
    pub(crate) fn count(&self, bytes: &[u8]) -> usize {
        let seen = fs::read(&self.file).unwrap();
        seen.windows(bytes.len()).filter(|window| *window == bytes).count()
    }

    /// How many TCP packets have been seen by now.
    pub(crate) fn tcp_packets(&self) -> usize {
        expect(&["tcpdump", "-n", "-r", self.file.to_str().unwrap(), "tcp"]).lines().count()
    }

    /// Waits until `bytes` have been seen.
    pub(crate) fn wait_for(&self, bytes: &[u8]) {
        wait_until("bytes on the wire", || self.count(bytes) > 0);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// A stranger that owns a table of our name: `nft -i`, as long as it runs.
pub(crate) struct Owner {
    nft: Child,
}

impl Owner {
    pub(crate) fn start(netns: &Netns) -> Self {
        let mut nft = netns.command(&["nft", "-i"]);
        nft.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut nft = nft.spawn().expect("cannot run ip: install iproute2");
        let input = nft.stdin.as_mut().unwrap();
        input.write_all(b"add table inet bip324 { flags owner; }\n").unwrap();
        let owner = Self { nft };
        wait_until("an owned table", || netns.tables() == ["inet bip324"]);
        owner
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.nft.kill();
        let _ = self.nft.wait();
    }
}

/// Waits until a condition holds, and fails if it never does.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Standard error as text.
pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn expect(words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    succeeded(&output(command, words), words)
}

fn output(mut command: Command, words: &[&str]) -> Output {
    let needs = "install iproute2, util-linux, nftables";
    command.output().unwrap_or_else(|error| panic!("cannot run {words:?}: {error}; {needs}"))
}

fn succeeded(output: &Output, words: &[&str]) -> String {
    let error = complaint(output);
    assert!(output.status.success(), "{words:?} fails with {}: {error}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn without_counts(listing: &str) -> String {
    let words = listing.split(' ');
    let mut zeroed = Vec::new();
    let mut previous = "";
    for word in words {
        zeroed.push(if matches!(previous, "packets" | "bytes") { "0" } else { word });
        previous = word;
    }
    zeroed.join(" ")
}
