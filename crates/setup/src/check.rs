//! Proves the redirect end to end: as a member of the group, through the canary, to the daemon.
//!
//! The canary does not show which ports are redirected. A caller who may read the rules has them
//! compared with those that `up` would install as well.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use crate::canary::{canary_address, send_canary};
use crate::group::{self, DAEMON_USER, Group, Membership};
use crate::keeper::Keeper;
use crate::kernel;
use crate::link::{self, Fault};
use crate::listener::{self, Listener, Owner};
use crate::plan::{Config, Ruleset};
use crate::privilege::{self, NetAdmin};
use crate::standing::{self, State};

/// What a successful check has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The group that is redirected.
    pub group: Group,
    /// The daemon that answered.
    pub daemon: Daemon,
    /// How the rules stand, which are those that `up` would install. `None` without
    /// `CAP_NET_ADMIN`: not looked at.
    pub rules: Option<State>,
}

/// The daemon, as a client reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Version that it gave.
    pub version: String,
    /// Its addresses that were reached; over IPv6 only if this host uses it.
    pub listeners: Vec<Listener>,
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
    /// A stopped guard's block stands in for the redirect.
    #[error(
        "{canary} is prohibited, so clients are refused: a guard was stopped and left its block \
         behind, run `sudo systemctl start bip324-guard` or `sudo {up}`",
        canary = .1,
        up = .0.command_line("up")
    )]
    Blocked(Config, SocketAddr),
    /// A guard refuses the clients instead of redirecting them.
    #[error(
        "{canary} is prohibited, so clients are refused: process {guard}, a guard, could not use its \
         configuration, or does not know the group; `systemctl status bip324-guard` tells why, and \
         `sudo systemctl reload bip324-guard` has it read both again"
    )]
    Shut {
        /// Where the canary went.
        canary: SocketAddr,
        /// Process id of the guard.
        guard: i32,
    },
    /// The rules are not those that `up` would install.
    #[error(
        "the rules are not those of `{up}` ({}): {}run that with sudo, \
         or give `check` the --group, --port and --listen-port that `up` was given",
        first_of(.differences),
        held(.keeper.as_ref()),
        up = .config.command_line("up")
    )]
    RulesDiffer {
        /// What was asked about.
        config: Config,
        /// How they differ; not empty.
        differences: Vec<String>,
        /// Who would keep `up` from replacing them.
        keeper: Option<Keeper>,
    },
    /// The interfaces could not be read.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// `lo` cannot carry the redirect.
    #[error(transparent)]
    Loopback(#[from] Fault),
    /// The daemon's listeners could not be read.
    #[error(transparent)]
    Listeners(#[from] listener::Error),
    /// Another user has taken the daemon's address, as everybody can while it is down.
    #[error(
        "{address} is held by user {owner}, who would read what clients send: \
         stop what listens there (see `sudo ss -ltnp`), then start bip324-proxy as {DAEMON_USER}"
    )]
    ForeignListener {
        /// The daemon's address.
        address: SocketAddr,
        /// Who listens there.
        owner: Owner,
    },
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
         give this command the --listen-port that `up` was given"
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

impl Failure {
    /// The block, a guard's or not, has answered this canary, or would.
    pub(crate) fn blocked(config: &Config, canary: SocketAddr) -> Self {
        match Keeper::of(None) {
            Some(Keeper { guard: Some(guard), .. }) => Self::Shut { canary, guard },
            _ => Self::Blocked(config.clone(), canary),
        }
    }
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
    let mut rules = None;
    if privilege::holds_net_admin()? {
        rules = Some(compare_rules(&group, config, ruleset, &NetAdmin::keep_only()?)?);
    }
    privilege::drop_all()?;

    Ok(Proof { group, daemon: reach_daemon(config)?, rules })
}

/// Sends a canary over each IP version that this host uses, to a listener of the daemon's user or
/// of root. The caller has the group already. Needs no privilege; blocks for at most 2 s per
/// connection.
///
/// # Errors
/// The first failure found.
pub fn reach_daemon(config: &Config) -> Result<Daemon, Failure> {
    let loopback = link::loopback()?;
    if let Some(fault) = loopback.fault() {
        return Err(fault.into());
    }
    let mut daemon = Daemon { version: String::new(), listeners: Vec::new() };
    for listener in listener::listeners(config.listen_port)? {
        let address = listener.address;
        if address.is_ipv6() && !loopback.host_v6 {
            continue;
        }
        if let Some(owner) = listener.stranger() {
            return Err(Failure::ForeignListener { address, owner: owner.clone() });
        }
        let mut answer = send_canary(config, address)?;
        if listener.owner.is_none() {
            return Err(Failure::OtherPort(address));
        }
        if !answer.from_daemon {
            // The redirect has changed a source port that was in use there: others are not.
            answer = send_canary(config, address)?;
        }
        if !answer.from_daemon {
            let said = format!("bip324-proxy {}", answer.version);
            let canary = canary_address(address);
            return Err(Failure::Stranger { canary, daemon: address, said });
        }
        daemon.version = answer.version;
        daemon.listeners.push(listener);
    }
    Ok(daemon)
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bip324-proxy {} on ", self.version)?;
        for (index, Listener { address, owner }) in self.listeners.iter().enumerate() {
            let and = if index == 0 { "" } else { " and " };
            write!(f, "{and}{address}")?;
            if let Some(owner) = owner {
                write!(f, " (user {owner})")?;
            }
        }
        Ok(())
    }
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
) -> Result<State, Failure> {
    let standing = standing::read(config, ruleset, Some(group.gid), net_admin)?;
    match standing.state {
        State::Absent => Err(Failure::NoTable(config.clone())),
        State::Blocked | State::Shut => {
            let daemon = SocketAddr::from((Ipv4Addr::LOCALHOST, config.listen_port));
            Err(Failure::blocked(config, canary_address(daemon)))
        }
        State::Differs => Err(Failure::RulesDiffer {
            config: config.clone(),
            differences: standing.differences,
            keeper: standing.keeper,
        }),
        state => Ok(state),
    }
}

fn first_of(differences: &[String]) -> String {
    let first = differences.first().map(String::as_str).unwrap_or_default();
    match differences.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first}; {} more in `bip324-setup status`", count - 1),
    }
}

/// What comes before `up` where somebody holds the rules.
fn held(keeper: Option<&Keeper>) -> String {
    keeper.map(|keeper| format!("{keeper}, then ")).unwrap_or_default()
}
