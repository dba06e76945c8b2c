//! What the daemon spends on a byte: its own CPU time while streams of messages pass through it over
//! loopback, beside a floor measured in the same run.
//!
//! The floor is one loopback read and write of the bytes, one ChaCha20-Poly1305 pass and one double
//! SHA-256. Traffic is made and encrypted before the clock starts. Run by `scripts/bench`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may be blunt")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bip324_transport::command::Command as MessageType;
use bip324_transport::v1::{Header, Magic};
use bip324_transport::v2::{KEY_LEN, KeyExchange, PacketCipher, Role, Session};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

fn main() {
    let daemon = Daemon::start();
    println!("daemon CPU per byte over loopback, one session, against the floor of the same run\n");
    println!("{:<32}{:>9}{:>9}{:>8}", "stream", "ns/byte", "floor", "ratio");
    let mut met = true;
    for (name, kind, payload) in STREAMS {
        let stream = stream_of(kind, payload);
        let floor = floor(&stream, payload);
        for (direction, cost) in [
            ("to the peer", to_peer(&daemon, &stream)),
            ("to the client", to_client(&daemon, &stream)),
        ] {
            let row = format!("{name} {direction}");
            let block = kind == "block";
            let verdict = match (block, cost < TARGET) {
                (false, _) => String::new(),
                (true, good) => {
                    met &= good;
                    format!("  target {TARGET:.1} ns/byte: {}", if good { "ok" } else { "short" })
                }
            };
            println!("{row:<32}{cost:>9.2}{floor:>9.2}{:>8.2}{verdict}", cost / floor);
        }
    }
    drop(daemon);
    if !met {
        std::process::exit(1);
    }
}

/// About [`VOLUME`] bytes of v1 messages.
fn stream_of(kind: &str, payload: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..payload).map(|i| (i * 31 % 251) as u8).collect();
    let message = message(kind, &payload);
    message.repeat(VOLUME / message.len())
}

fn message(kind: &str, payload: &[u8]) -> Vec<u8> {
    let header = Header::for_payload(Magic::REGTEST, MessageType::new(kind).unwrap(), payload);
    [&header.encode(), payload].concat()
}

// --- the two directions ------------------------------------------------------------------------

/// ns of daemon CPU for every v1 byte from the client to the peer.
fn to_peer(daemon: &Daemon, stream: &[u8]) -> f64 {
    let (mut client, mut peer, _) = daemon.session();
    let expected = packets_len(stream);
    let reader = thread::spawn(move || discard(&mut peer, expected));
    let before = daemon.cpu();
    client.write_all(stream).unwrap();
    reader.join().unwrap();
    per_byte(daemon.cpu() - before, stream.len())
}

/// ns of daemon CPU for every v1 byte from the peer to the client.
fn to_client(daemon: &Daemon, stream: &[u8]) -> f64 {
    let (mut client, mut peer, mut session) = daemon.session();
    let mut packets = Vec::with_capacity(stream.len() + stream.len() / 2);
    encrypt(&mut session, stream, &mut packets);
    let expected = stream.len();
    let reader = thread::spawn(move || discard(&mut client, expected));
    let before = daemon.cpu();
    peer.write_all(&packets).unwrap();
    reader.join().unwrap();
    per_byte(daemon.cpu() - before, stream.len())
}

fn encrypt(session: &mut Session, stream: &[u8], packets: &mut Vec<u8>) {
    let (mut done, mut batch) = (0, Vec::new());
    while done < stream.len() {
        done += session.sender.translate(&stream[done..], &mut batch).unwrap().consumed;
        packets.append(&mut batch);
    }
}

/// How long a stream is once encrypted: a 24-byte header becomes 21 bytes of packet.
fn packets_len(stream: &[u8]) -> usize {
    let first = Header::parse(stream.first_chunk().unwrap());
    let messages = stream.len() / (24 + first.length as usize);
    stream.len() - messages * 3
}

fn discard(stream: &mut TcpStream, mut expected: usize) {
    let mut buffer = vec![0; 1 << 20];
    while expected > 0 {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the stream ended {expected} bytes early");
        expected -= n;
    }
}

fn per_byte(cpu: Duration, bytes: usize) -> f64 {
    cpu.as_nanos() as f64 / bytes as f64
}

// --- the floor ---------------------------------------------------------------------------------

/// ns per byte that this machine needs at least.
fn floor(stream: &[u8], payload: usize) -> f64 {
    let mut cipher = PacketCipher::new(&[7; 32]);
    let mut copy = stream.to_vec();
    let before = own_cpu();
    for message in copy.chunks_mut(24 + payload) {
        let plaintext = &mut message[24..];
        std::hint::black_box(bip324_transport::v1::checksum(plaintext));
        std::hint::black_box(cipher.seal(&[], plaintext));
    }
    let crypto = own_cpu() - before;
    per_byte(crypto, stream.len()) + loopback(stream)
}

/// ns per byte of one read and one write: a thread that copies from one socket to another.
fn loopback(stream: &[u8]) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || {
        let near = TcpStream::connect(address).unwrap();
        (near, listener.accept().unwrap().0)
    };
    let ((mut source, mut from), (mut to, mut sink)) = (connect(), connect());
    let expected = stream.len();
    thread::scope(|scope| {
        scope.spawn(move || source.write_all(stream).unwrap());
        scope.spawn(move || discard(&mut sink, expected));
        let relay = scope.spawn(move || {
            let before = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let n = from.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                to.write_all(&buffer[..n]).unwrap();
            }
            let after = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
            let spent = (after.user_time() - before.user_time())
                + (after.system_time() - before.system_time());
            Duration::from_micros(spent.num_microseconds().unsigned_abs())
        });
        per_byte(relay.join().unwrap(), expected)
    })
}

fn own_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let spent = usage.user_time() + usage.system_time();
    Duration::from_micros(spent.num_microseconds().unsigned_abs())
}

// --- the daemon --------------------------------------------------------------------------------

struct Daemon {
    child: Child,
    address: SocketAddr,
}

impl Daemon {
    /// The release build beside this program, as a user without privileges.
    fn start() -> Self {
        let program = std::env::var_os("BIP324_PROXY").unwrap();
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--direct", "any"]);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the daemon does not start");
            if let Some((_, address)) = line.trim().split_once("listening on ") {
                break address.parse().unwrap();
            }
        };
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address }
    }

    /// An established session: the client's end, the peer's end, and the peer's ciphers.
    fn session(&self) -> (TcpStream, TcpStream, Session) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut version = vec![0; 86];
        version[38..40].copy_from_slice(&[0xFF; 2]);
        version[40..44].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        let port = listener.local_addr().unwrap().port();
        version[44..46].copy_from_slice(&port.to_be_bytes());

        let mut client = TcpStream::connect(self.address).unwrap();
        client.write_all(&message("version", &version)).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let exchange = KeyExchange::new(Role::Responder, Magic::REGTEST).unwrap();
        let mut key = [0; KEY_LEN];
        peer.read_exact(&mut key).unwrap();
        let mut flight = exchange.first_flight();
        let mut session = exchange.complete(&key, &mut flight);
        session.sender.translate(&message("verack", &[]), &mut flight).unwrap();
        peer.write_all(&flight).unwrap();

        let (mut received, mut arrived) = (Vec::new(), Vec::new());
        while arrived.len() < 24 + version.len() {
            let mut buffer = [0; 8192];
            let n = peer.read(&mut buffer).unwrap();
            assert!(n > 0, "the daemon does not shake hands");
            received.extend_from_slice(&buffer[..n]);
            let progress = session.receiver.translate(&mut received, &mut arrived).unwrap();
            received.drain(..progress.consumed);
        }
        client.read_exact(&mut [0; 24]).unwrap();
        (client, peer, session)
    }

    /// User and system time of all its threads.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Fields 14 and 15, counted behind the name in brackets.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
        let per_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
        Duration::from_millis(ticks * 1000 / per_second.unsigned_abs())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const STREAMS: [(&str, &str, usize); 4] = [
    ("1.64 MB blocks", "block", 1_640_000),
    ("162 KB headers", "headers", 162_003),
    ("258 B tx", "tx", 258),
    ("61 B inv", "inv", 61),
];

/// Enough for the clock's ticks of 10 ms to be a percent.
const VOLUME: usize = 500_000_000;

/// What a byte of a block may cost, either way.
const TARGET: f64 = 3.0;

const NOBODY: u32 = 65534;
