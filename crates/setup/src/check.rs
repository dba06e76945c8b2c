//! Proves the redirect end to end: as a member of the group, through the canary, to the daemon.
//!
//! The canary is a connection to port 324 of 127.0.0.1 and ::1. The client half-closes it at once;
//! the redirect takes it to the daemon, which recognises it by its original destination, answers
//! `bip324-proxy <version> canary\n` and closes. Without the redirect it is refused on loopback:
//! no packet leaves the host either way.
//!
//! The canary does not show which ports are redirected. A caller who may read the rules has them
//! compared with those that `up` would install as well.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::group::{self, Group, Membership};
use crate::kernel::{self, Batch, Socket};
use crate::link::{self, Fault};
use crate::listener;
use crate::plan::{CANARY_PORT, Config, Ruleset};
use crate::privilege::{self, NetAdmin};

/// What a successful check has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The group that is redirected.
    pub group: Group,
    /// Version that the daemon gave.
    pub version: String,
    /// The daemon's addresses that were reached, with the owners of the listeners.
    pub reached: Vec<listener::Listener>,
    /// The rules are those that `up` would install. Not looked at without `CAP_NET_ADMIN`.
    pub rules_compared: bool,
}

/// A way in which the redirect does not work, with its remedy on the same line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The group is missing, refused, or not to be taken on.
    #[error(transparent)]
    Group(#[from] group::Error),
    /// The caller is not in the group.
    #[error(
        "this process is not in group {group}: run `sudo -g {group} {check}` \
         (and your client with `sudo -g {group} CLIENT`)",
        group = .0.group,
        check = .0.command_line("check")
    )]
    WrongGroup(Config),
    /// The group is supplementary, and the kernel matches the primary one.
    #[error(
        "group {group} is only supplementary here (what `usermod -aG` gives), so nothing is \
         redirected: run `sg {group} -c '{check}'` or `sudo -g {group} …`, and clients likewise",
        group = .0.group,
        check = .0.command_line("check")
    )]
    SupplementaryOnly(Config),
    /// Capabilities could not be dropped.
    #[error(transparent)]
    Privilege(#[from] privilege::Error),
    /// The rules could not be read.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// There are no rules at all: nothing is redirected.
    #[error(
        "there is no table inet bip324, so clients connect in plaintext: run `sudo {}`",
        .0.command_line("up")
    )]
    NoTable(Config),
    /// The rules are not those that `up` would install.
    #[error(
        "the rules are not those of `{up}` ({}): run that with sudo, \
         or give `check` the --group, --port and --listen-port that `up` was given",
        first_of(.differences),
        up = .config.command_line("up")
    )]
    RulesDiffer {
        /// What was asked about.
        config: Config,
        /// How they differ; not empty.
        differences: Vec<String>,
    },
    /// The interfaces could not be read.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// `lo` cannot carry the redirect.
    #[error(transparent)]
    Loopback(#[from] Fault),
    /// The daemon's listeners could not be read.
    #[error("cannot read /proc/net/tcp")]
    Listeners(#[source] io::Error),
    /// The daemon answers, the canary does not: no rules, or rules for another group.
    #[error(
        "{canary} is not redirected to {daemon}: no rules for group {} stand here, run `sudo {}`",
        .config.group,
        .config.command_line("up")
    )]
    NoRedirect {
        /// What was asked about.
        config: Config,
        /// Where the canary went.
        canary: SocketAddr,
        /// Where it should have ended.
        daemon: SocketAddr,
    },
    /// The rules lead to a daemon on another port than the one asked about.
    #[error(
        "the canary is answered, but nothing listens on {0}: \
         give `check` the --listen-port that `up` was given"
    )]
    OtherPort(SocketAddr),
    /// Nothing listens at the daemon's address.
    #[error("nothing listens on {0}: start bip324-proxy")]
    DaemonDown(SocketAddr),
    /// The daemon closed the connection without knowing where it was bound for.
    #[error(
        "{0} connects, but the daemon cannot tell its original destination: a rule of this host \
         puts it into a conntrack zone, look for `zone` in `nft list ruleset` and `iptables -t raw -S`"
    )]
    NoOriginalDestination(SocketAddr),
    /// Another program answers the canary.
    #[error(
        "{canary} is answered by another program ({said:?}): stop what listens there or on {daemon} \
         (see `ss -ltnp`), then start bip324-proxy"
    )]
    Stranger {
        /// The canary's address.
        canary: SocketAddr,
        /// The daemon's address.
        daemon: SocketAddr,
        /// The beginning of what it said.
        said: String,
    },
    /// No connection or no answer in time.
    #[error(
        "{0} does not answer within 2 s: bip324-proxy hangs or is at its limit of sessions, \
         or a firewall drops packets on lo"
    )]
    Silent(SocketAddr),
    /// Connecting failed in a way that none of the above explains.
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] io::Error),
}

/// Checks as the group: takes it on if permitted to, compares the rules if permitted to, gives up
/// every capability, and sends a canary over each IP version that this host uses. Blocks for at
/// most 2 s per connection.
///
/// # Errors
/// The first failure found, each with its remedy.
pub fn check(config: &Config, ruleset: &Ruleset) -> Result<Proof, Failure> {
    let group = Group::resolve(&config.group)?;
    become_member(&group, config)?;
    let rules_compared = privilege::holds_net_admin()?;
    if rules_compared {
        compare_rules(&group, config, ruleset, &NetAdmin::keep_only()?)?;
    }
    privilege::drop_all()?;

    let loopback = link::loopback()?;
    if let Some(fault) = loopback.fault() {
        return Err(fault.into());
    }
    let mut version = String::new();
    let mut reached = Vec::new();
    for listener in listener::listeners(config.listen_port).map_err(Failure::Listeners)? {
        let daemon = listener.address;
        if daemon.is_ipv4() || loopback.host_v6 {
            version = canary(daemon).map_err(|ending| diagnose(ending, config, daemon))?;
            if listener.owner.is_none() {
                return Err(Failure::OtherPort(daemon));
            }
            reached.push(listener);
        }
    }
    Ok(Proof { group, version, reached, rules_compared })
}

/// Leaves the process with the group as its primary one, or says why it cannot.
fn become_member(group: &Group, config: &Config) -> Result<(), Failure> {
    if privilege::may_switch_group()? {
        return Ok(group.switch_to()?);
    }
    match group.membership()? {
        Membership::Effective => Ok(()),
        Membership::Supplementary => Err(Failure::SupplementaryOnly(config.clone())),
        Membership::None => Err(Failure::WrongGroup(config.clone())),
    }
}

fn compare_rules(
    group: &Group,
    config: &Config,
    ruleset: &Ruleset,
    net_admin: &NetAdmin,
) -> Result<(), Failure> {
    let Some(installed) = kernel::read(&Socket::open()?, net_admin)? else {
        return Err(Failure::NoTable(config.clone()));
    };
    let expected = Batch::replace(ruleset, group.gid).contents()?;
    let differences = installed.differences(&expected, ruleset);
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Failure::RulesDiffer { config: config.clone(), differences })
    }
}

fn first_of(differences: &[String]) -> String {
    let first = differences.first().map(String::as_str).unwrap_or_default();
    match differences.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first}; {} more in `bip324-setup status`", count - 1),
    }
}

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
    /// Any other error.
    Failed(io::Error),
}

/// Sends a canary towards the daemon at `daemon` and returns the version that it answers.
fn canary(daemon: SocketAddr) -> Result<String, Ending> {
    let deadline = Instant::now() + TIMEOUT;
    let mut stream =
        TcpStream::connect_timeout(&canary_address(daemon), TIMEOUT).map_err(Ending::of)?;
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
        Ending::Empty => Failure::NoOriginalDestination(canary),
        Ending::Stranger(said) => Failure::Stranger { canary, daemon, said },
        Ending::Silent => Failure::Silent(canary),
        Ending::Failed(error) => Failure::Connect(canary, error),
    }
}

fn canary_address(daemon: SocketAddr) -> SocketAddr {
    let ip = match daemon {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, CANARY_PORT)
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
