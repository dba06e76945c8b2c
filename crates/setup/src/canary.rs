//! The canary: a connection to port 324 of 127.0.0.1 and ::1. The client half-closes it at once;
//! the redirect takes it to the daemon, which recognises it by its original destination, answers
//! `bip324-proxy <version> canary\n` and closes. Without the redirect it is refused on loopback:
//! no packet leaves the host either way.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::check::Failure;
use crate::listener;
use crate::plan::{CANARY_PORT, Config};

/// How a canary ended that did not bring back the daemon's line.
#[derive(Debug)]
enum Ending {
    /// Connection refused.
    Refused,
    /// Connected, then closed or reset without a byte.
    Empty,
    /// Answered by something else.
    Stranger(String),
    /// Not connected or not answered in time.
    Silent,
    /// Prohibited by the block.
    Prohibited,
    /// Any other error.
    Failed(io::Error),
}

/// The answer to a canary.
pub(crate) struct Answer {
    /// The daemon's version.
    pub(crate) version: String,
    /// The connection ended at the daemon's address. Without rules any user can answer in its place
    /// where `net.ipv4.ip_unprivileged_port_start` lets users listen on the canary's port.
    pub(crate) from_daemon: bool,
}

/// Sends a canary towards the daemon at `daemon`.
pub(crate) fn send_canary(config: &Config, daemon: SocketAddr) -> Result<Answer, Failure> {
    let failure = |ending| diagnose(ending, config, daemon);
    let deadline = Instant::now() + TIMEOUT;
    let stream = TcpStream::connect_timeout(&canary_address(daemon), TIMEOUT)
        .map_err(|error| failure(Ending::of(error)))?;
    let client = stream.local_addr().map_err(|error| failure(Ending::Failed(error)))?;
    let from_daemon = listener::is_reached(daemon, client)?;
    let version = ask_version(stream, deadline).map_err(failure)?;
    Ok(Answer { version, from_daemon })
}

/// The version that the daemon answers a canary with.
fn ask_version(mut stream: TcpStream, deadline: Instant) -> Result<String, Ending> {
    // A peer that has closed already is told by what it sent.
    let _ = stream.shutdown(Shutdown::Write);

    let mut answer = Vec::new();
    let mut buffer = [0; BANNER_LIMIT];
    while answer.len() < BANNER_LIMIT && !answer.contains(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Ending::Silent);
        }
        stream.set_read_timeout(Some(left)).map_err(Ending::Failed)?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend(buffer.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(Ending::of(error)),
        }
    }
    version_of(&answer)
}

fn version_of(answer: &[u8]) -> Result<String, Ending> {
    if answer.is_empty() {
        return Err(Ending::Empty);
    }
    let text = String::from_utf8_lossy(answer);
    let words = text.strip_suffix('\n').map(|line| line.split(' ').collect::<Vec<_>>());
    match words.as_deref() {
        Some(["bip324-proxy", version, "canary"]) if !version.is_empty() => {
            Ok((*version).to_owned())
        }
        _ => Err(Ending::Stranger(text.chars().take(40).collect())),
    }
}

impl Ending {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::PermissionDenied => Self::Prohibited,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silent,
            _ => Self::Failed(error),
        }
    }
}

/// Names the cause. A refused canary means missing rules if the daemon itself can be reached.
fn diagnose(ending: Ending, config: &Config, daemon: SocketAddr) -> Failure {
    let canary = canary_address(daemon);
    match ending {
        Ending::Refused => match TcpStream::connect_timeout(&daemon, TIMEOUT) {
            Ok(_) => Failure::NoRedirect { config: config.clone(), canary, daemon },
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Failure::DaemonDown(daemon)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Failure::Silent(daemon),
            Err(error) => Failure::Connect(daemon, error),
        },
        Ending::Prohibited => Failure::blocked(config, canary),
        Ending::Empty => Failure::NoOriginalDestination(canary),
        Ending::Stranger(said) => Failure::Stranger { canary, daemon, said },
        Ending::Silent => Failure::Silent(canary),
        Ending::Failed(error) => Failure::Connect(canary, error),
    }
}

pub(crate) fn canary_address(daemon: SocketAddr) -> SocketAddr {
    SocketAddr::new(daemon.ip(), CANARY_PORT)
}

/// For a connection, and again for the answer counted from the same start.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes; the daemon's line is far shorter.
const BANNER_LIMIT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_line_gives_its_version() {
        assert_eq!(version_of(b"bip324-proxy 0.1.0 canary\n").unwrap(), "0.1.0");
    }

    #[test]
    fn no_byte_is_told_from_a_wrong_line() {
        assert!(matches!(version_of(b""), Err(Ending::Empty)));
        for line in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"bip324-proxy 0.1.0 canary",
            b"bip324-proxy  canary\n",
            b"bip324-proxy 0.1.0 canary more\n",
            b"\xff\n",
        ] {
            assert!(matches!(version_of(line), Err(Ending::Stranger(_))), "{line:?}");
        }
    }
}
