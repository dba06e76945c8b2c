//! What stands on this host, beside what `up` would install.

use std::fmt;
use std::io;

use serde::Serialize;

use crate::group::{self, Group};
use crate::installed::{Counter, Installed};
use crate::kernel::{self, Batch, Socket};
use crate::listener::{self, Listener};
use crate::plan::{Config, Ruleset, TABLE};
use crate::privilege::NetAdmin;

/// The state of the redirect.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The table, compared with what `up` would install.
    pub table: TableState,
    /// How it differs, a line each.
    pub differences: Vec<String>,
    /// What each rule that is as it should be has matched.
    pub counters: Vec<RuleCounter>,
    /// The clients' group; `None` if it does not exist or is refused.
    pub group: Option<Group>,
    /// The daemon's addresses and who listens there.
    pub listeners: [Listener; 2],
    /// The command that installs what the table was compared with.
    pub up: String,
}

/// The table, compared with what `up` would install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableState {
    /// There is none.
    Absent,
    /// It is the one that `up` would install.
    Installed,
    /// It is another one.
    Differs,
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
    #[error("cannot read /proc/net/tcp")]
    Listeners(#[source] io::Error),
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
        let installed = kernel::read(&Socket::open()?, net_admin)?;
        let listeners = listener::listeners(config.listen_port).map_err(Error::Listeners)?;
        let mut status = Self {
            table: TableState::Absent,
            differences: Vec::new(),
            counters: Vec::new(),
            group: None,
            listeners,
            up: config.command_line("up"),
        };
        match group {
            Ok(group) => {
                if let Some(installed) = installed {
                    let expected = Batch::replace(ruleset, group.gid).contents()?;
                    status.compare(&installed, &expected, ruleset);
                }
                status.group = Some(group);
            }
            Err(error) => {
                // Without a gid there is nothing to compare a table with.
                status.differences.push(error.to_string());
                if installed.is_some() {
                    status.table = TableState::Differs;
                }
            }
        }
        Ok(status)
    }

    fn compare(&mut self, installed: &Installed, expected: &Installed, ruleset: &Ruleset) {
        self.differences = installed.differences(expected, ruleset);
        self.table =
            if self.differences.is_empty() { TableState::Installed } else { TableState::Differs };
        self.counters = counters(installed, expected, ruleset);
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

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table inet {TABLE}: ")?;
        match self.table {
            TableState::Absent => writeln!(f, "absent: run `sudo {}`", self.up)?,
            TableState::Installed => writeln!(f, "installed")?,
            TableState::Differs => writeln!(f, "differs from what `{}` would install", self.up)?,
        }
        for line in &self.differences {
            writeln!(f, "  {line}")?;
        }
        if let Some(Group { name, gid, members }) = &self.group {
            let members = if members.is_empty() { "none".into() } else { members.join(", ") };
            writeln!(f, "group {name}: gid {gid}, members: {members}")?;
        }
        for Listener { address, owner } in &self.listeners {
            match owner {
                Some(owner) => writeln!(f, "daemon {address}: user {owner} listens")?,
                None => writeln!(f, "daemon {address}: nothing listens, clients are refused")?,
            }
        }
        for RuleCounter { chain, rule, counter } in &self.counters {
            let Counter { packets, bytes } = counter;
            writeln!(f, "{packets:>10} packets {bytes:>12} bytes  {chain}: {rule}")?;
        }
        Ok(())
    }
}
