//! What stands on this host, beside what `up` would install.

use std::fmt;

use serde::Serialize;

use crate::group::{self, Group};
use crate::installed::{Counter, Installed};
use crate::keeper::Keeper;
use crate::kernel;
use crate::listener::{self, Listener};
use crate::plan::{BLOCK_TABLE, Config, Ruleset, TABLE};
use crate::privilege::NetAdmin;
use crate::standing::{self, Refusal, State};

/// The state of the redirect.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The rules, compared with what `up` would install.
    pub table: State,
    /// How they differ, a line each.
    pub differences: Vec<String>,
    /// Who holds the rules, if anybody does.
    pub keeper: Option<Keeper>,
    /// What refuses other groups besides.
    pub beside: Vec<Refusal>,
    /// What each rule that is as it should be has matched.
    pub counters: Vec<RuleCounter>,
    /// The clients' group; `None` if it does not exist or is refused.
    pub group: Option<Group>,
    /// The daemon's addresses and who listens there.
    pub listeners: [Listener; 2],
    /// The command that installs what the table was compared with.
    pub up: String,
    /// The command that guards it.
    pub guard: String,
}

/// A rule's counter.
#[derive(Debug, Serialize)]
pub struct RuleCounter {
    /// Chain of the rule.
    pub chain: &'static str,
    /// The rule as nft text.
    pub rule: String,
    /// What it has matched since the table was made.
    #[serde(flatten)]
    pub counter: Counter,
}

/// Why the state could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules could not be read.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The listeners could not be read.
    #[error(transparent)]
    Listeners(#[from] listener::Error),
}

impl Status {
    /// Reads the rules, the group and the listeners.
    ///
    /// # Errors
    /// When the kernel does not answer. A missing group is a difference, not an error.
    pub fn read(
        config: &Config,
        ruleset: &Ruleset,
        group: Result<Group, group::Error>,
        net_admin: &NetAdmin,
    ) -> Result<Self, Error> {
        let gid = group.as_ref().ok().map(|group| group.gid);
        let standing = standing::read(config, ruleset, gid, net_admin)?;
        let listeners = listener::listeners(config.listen_port)?;
        let mut status = Self {
            table: standing.state,
            differences: standing.differences,
            keeper: standing.keeper,
            beside: standing.beside,
            counters: Vec::new(),
            group: None,
            listeners,
            up: config.command_line("up"),
            guard: config.command_line("guard"),
        };
        if let (Some(found), Some(expected)) = (standing.redirect, standing.expected) {
            status.counters = counters(&found, &expected, ruleset);
        }
        match group {
            Ok(group) => status.group = Some(group),
            Err(error) => status.differences.push(error.to_string()),
        }
        Ok(status)
    }
}

/// The counters of the planned rules that stand.
fn counters(installed: &Installed, expected: &Installed, ruleset: &Ruleset) -> Vec<RuleCounter> {
    let mut counters = Vec::new();
    for chain in &ruleset.chains {
        let (Some(found), Some(expected)) =
            (installed.chains.get(chain.name), expected.chains.get(chain.name))
        else {
            continue;
        };
        for (rule, expected) in chain.rules.iter().zip(&expected.rules) {
            let same = found.rules.iter().find(|rule| rule.expressions == expected.expressions);
            if let Some(counter) = same.and_then(|rule| rule.counter) {
                let rule = rule.text(&ruleset.group);
                counters.push(RuleCounter { chain: chain.name, rule, counter });
            }
        }
    }
    counters
}

fn write_shut(f: &mut fmt::Formatter<'_>, keeper: Option<Keeper>, up: &str) -> fmt::Result {
    let remedy = match keeper {
        Some(Keeper { guard: Some(_), .. }) => {
            "its guard holds that until `sudo systemctl reload bip324-guard`".to_owned()
        }
        _ => format!("run `sudo systemctl start bip324-guard` or `sudo {up}`"),
    };
    writeln!(
        f,
        "no redirect, and all TCP of the group but to this host is refused, since the configuration \
         could not be used: {remedy}"
    )
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { up, guard, .. } = self;
        write!(f, "table inet {TABLE}: ")?;
        match self.table {
            State::Absent => writeln!(f, "absent: run `sudo {up}`")?,
            State::Blocked => writeln!(
                f,
                "absent, and table inet {BLOCK_TABLE} refuses clients since a guard was stopped: \
                 run `sudo systemctl start bip324-guard` or `sudo {up}`"
            )?,
            State::Shut => write_shut(f, self.keeper, up)?,
            State::Installed => writeln!(f, "installed; `sudo {guard}` keeps it so")?,
            State::Watched => writeln!(f, "installed, and put back when something removes it")?,
            State::Guarded => writeln!(f, "guarded")?,
            State::Orphaned => writeln!(
                f,
                "installed, but its guard was killed, so anything may remove it: \
                 run `sudo systemctl start bip324-guard` or `sudo {guard}`"
            )?,
            State::Differs => writeln!(f, "differs from what `{up}` would install")?,
        }
        match &self.keeper {
            Some(Keeper { guard: Some(pid), .. }) => writeln!(f, "guard: process {pid}")?,
            Some(keeper) => writeln!(f, "guard: none, but {keeper}")?,
            None => {}
        }
        for line in &self.differences {
            writeln!(f, "  {line}")?;
        }
        for refusal in &self.beside {
            writeln!(f, "{refusal}")?;
        }
        if let Some(Group { name, gid, members }) = &self.group {
            let members = if members.is_empty() { "none".into() } else { members.join(", ") };
            writeln!(f, "group {name}: gid {gid}, members: {members}")?;
        }
        for listener in &self.listeners {
            write!(f, "daemon {}: ", listener.address)?;
            match (&listener.owner, listener.stranger()) {
                (_, Some(stranger)) => {
                    writeln!(f, "user {stranger} listens, and would read what clients send")?;
                }
                (Some(owner), None) => writeln!(f, "user {owner} listens")?,
                (None, None) => writeln!(f, "nothing listens, clients are refused")?,
            }
        }
        for RuleCounter { chain, rule, counter } in &self.counters {
            let Counter { packets, bytes } = counter;
            writeln!(f, "{packets:>10} packets {bytes:>12} bytes  {chain}: {rule}")?;
        }
        Ok(())
    }
}
