//! Clients that connect and speak v1 as fast as they can.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, Scope};
use std::time::Duration;

use bip324_transport::command::Command;
use bip324_transport::v1::{Header, Magic};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Gid;
use socket2::{Domain, Socket, Type};

use super::tally::Tally;
use crate::lab::Lab;
use crate::namespace::Family;

/// Traffic class of everything that a client sends itself. What the daemon sends has none, so a packet
/// of this class on the wire is one that escaped, whatever is in it.
pub const CLASS: u8 = 0xb8;

/// One of these is in whatever a client writes, not far from its beginning. By the magic of four bytes
/// alone, ciphertext would be found too.
pub const PLAINTEXT: [&[u8]; 2] = [b"version\0", b"ping\0\0\0\0"];

/// What a client does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// VERSION, the answer, the end.
    Greets,
    /// VERSION, and the end at once.
    Leaves,
    /// VERSION and as much as the socket takes, and the end at once: the kernel is left with a socket
    /// without an owner and with data to send.
    Floods,
    /// VERSION in the SYN, by TCP fast open.
    Hurries,
    /// VERSION, the answer, and PING after PING until the connection ends.
    Stays,
}

/// The clients of one port, which run until told to stop.
pub(super) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    lab: &'scope Lab,
    (group, port): (Gid, u16),
    tally: &'scope Tally,
    over: &'scope AtomicBool,
) {
    for family in Family::BOTH {
        let to = SocketAddr::new(family.peer(), port);
        for number in 0..CALLERS + STAYERS {
            let manners: &[Manner] = if number < CALLERS { &CALLS } else { &[Manner::Stays] };
            let client = Client { to, tally, over, pause: Duration::ZERO };
            scope.spawn(move || {
                lab.host.run_as_group(group, || {
                    client.run(manners, number);
                    Ok(())
                })
            });
        }
    }
}

/// How busy the clients of a long run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A hundred connections a second, of every kind.
    Brisk,
    /// A few connections a second, each with one message and its answer.
    Calm,
}

/// As [`start`], but with the group and in the namespace of the calling process, and fewer: they leave
/// the machine time for other things.
pub(super) fn start_here<'scope>(
    scope: &'scope Scope<'scope, '_>,
    peers: &[SocketAddr],
    pace: Pace,
    tally: &'scope Tally,
    over: &'scope AtomicBool,
) {
    let lives: &[(&[Manner], u64)] = match pace {
        Pace::Brisk => &[(&CALLS, 20), (&[Manner::Stays], 20)],
        Pace::Calm => &[(&[Manner::Greets], 100)],
    };
    for to in peers {
        for (manners, millis) in lives {
            let client = Client { to: *to, tally, over, pause: Duration::from_millis(*millis) };
            scope.spawn(move || client.run(manners, 0));
        }
    }
}

struct Client<'round> {
    to: SocketAddr,
    tally: &'round Tally,
    over: &'round AtomicBool,
    /// Between the end of a connection and the next one.
    pause: Duration,
}

impl Client<'_> {
    fn run(&self, manners: &[Manner], first: usize) {
        for manner in manners.iter().cycle().skip(first) {
            if self.over.load(Relaxed) {
                return;
            }
            self.tally.attempt();
            if let Err(error) = self.call(*manner) {
                self.tally.fail(&error);
                // As the clients that there are: none tries again at once.
                thread::sleep(BREATH);
            }
            thread::sleep(self.pause);
        }
    }

    fn call(&self, manner: Manner) -> Result<()> {
        let mut stream = self.connect(manner)?;
        stream.write_all(&message("version", &[7; 86]))?;
        if manner != Manner::Hurries {
            self.tally.connect();
        }
        match manner {
            Manner::Leaves => return Ok(()),
            Manner::Floods => return flood(&mut stream),
            Manner::Greets | Manner::Hurries | Manner::Stays => {}
        }
        hear(&mut stream)?;
        self.tally.answer();
        match manner {
            // It has been connected since the first write, but only the answer tells.
            Manner::Hurries => self.tally.connect(),
            Manner::Stays => self.stay(&mut stream)?,
            _ => {}
        }
        Ok(())
    }

    fn connect(&self, manner: Manner) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, None)?;
        match self.to.ip() {
            IpAddr::V4(_) => socket.set_tos_v4(CLASS.into())?,
            IpAddr::V6(_) => socket.set_tclass_v6(CLASS.into())?,
        }
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        socket.set_tcp_nodelay(true)?;
        if manner == Manner::Hurries {
            setsockopt(&socket, sockopt::TcpFastOpenConnect, &true)?;
            socket.connect(&self.to.into())?;
        } else {
            socket.connect_timeout(&self.to.into(), LIMIT)?;
        }
        Ok(socket.into())
    }

    fn stay(&self, stream: &mut TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(BREATH))?;
        let ping = message("ping", &[0; 8]);
        while !self.over.load(Relaxed) {
            stream.write_all(&ping)?;
            thread::sleep(BREATH);
            match hear(stream) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn flood(stream: &mut TcpStream) -> Result<()> {
    stream.set_nonblocking(true)?;
    // Few messages, for the peer's sake, and all of them words to look for.
    let words = message("ping", &b"version\0".repeat(1024));
    for _ in 0..FLOOD / words.len() {
        match stream.write(&words) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Something of what the peer says.
fn hear(stream: &mut TcpStream) -> Result<()> {
    match stream.read(&mut [0; 4096])? {
        0 => Err(Error::from(ErrorKind::UnexpectedEof)),
        _ => Ok(()),
    }
}

fn message(kind: &str, payload: &[u8]) -> Vec<u8> {
    let kind = Command::new(kind).unwrap_or(Command::VERSION);
    [&Header::for_payload(Magic::REGTEST, kind, payload).encode(), payload].concat()
}

/// What the callers do, in turns.
const CALLS: [Manner; 8] = [
    Manner::Greets,
    Manner::Leaves,
    Manner::Hurries,
    Manner::Greets,
    Manner::Floods,
    Manner::Greets,
    Manner::Leaves,
    Manner::Greets,
];

/// Clients of each family and port that connect again and again.
const CALLERS: usize = 6;

/// Clients of each family and port that hold a connection.
const STAYERS: usize = 2;

/// Most that one flood writes, in bytes.
const FLOOD: usize = 256 * 1024;

/// Longest wait for one connect, read or write.
const LIMIT: Duration = Duration::from_millis(500);

/// Pause after a failure, and between two PINGs.
const BREATH: Duration = Duration::from_millis(5);
