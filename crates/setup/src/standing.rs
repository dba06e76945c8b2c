//! Which rules stand, beside those that were asked about.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::group::Gid;
use crate::installed::Installed;
use crate::keeper::Keeper;
use crate::kernel::{self, Batch, Change, Socket, Tenure};
use crate::plan::{BLOCK_TABLE, Config, Ruleset, TABLE, UNGUARDED_TABLE, is_number_block};
use crate::privilege::NetAdmin;

/// The state of the redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There are no rules: clients connect in plaintext.
    Absent,
    /// A block refuses the clients, as a guard that was stopped leaves it.
    Blocked,
    /// All TCP of the group is refused, since the configuration could not be used: by a guard, or by a
    /// block.
    Shut,
    /// The redirect stands, and so it does until something removes it.
    Installed,
    /// The redirect stands, and a guard puts it back when something removes it.
    Watched,
    /// The redirect stands, and nobody but a guard can remove it.
    Guarded,
    /// The redirect stands, but the guard that kept it from being removed was killed.
    Orphaned,
    /// Other rules stand.
    Differs,
}

impl State {
    /// Whether the redirect stands as it was asked about.
    #[must_use]
    pub const fn stands(self) -> bool {
        matches!(self, Self::Installed | Self::Watched | Self::Guarded | Self::Orphaned)
    }
}

/// The rules that were found, compared with those that were asked about.
#[derive(Debug)]
pub struct Standing {
    /// What it comes to.
    pub state: State,
    /// How the rules differ, a line each.
    pub differences: Vec<String>,
    /// Who holds them.
    pub keeper: Option<Keeper>,
    /// What refuses others besides.
    pub beside: Vec<Refusal>,
    /// The redirect's table.
    pub redirect: Option<Installed>,
    /// What the redirect's table should hold; `None` without a group, and where nothing is redirected.
    pub expected: Option<Installed>,
}

/// A table that refuses clients, and nobody redirects.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// Its name.
    pub table: String,
    /// The groups that its rules are about.
    pub gids: BTreeSet<u32>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gids = self.gids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "table inet {} refuses gid {gids}", self.table)
    }
}

/// What stands of the block, what is put beside a guard, and what refuses a single number.
///
/// # Errors
/// When the kernel does not answer.
pub fn refusals(socket: &Socket, net_admin: &NetAdmin) -> Result<Vec<Refusal>, kernel::Error> {
    let mut refusals = Vec::new();
    for table in kernel::tables(socket, net_admin)? {
        let refuses = [BLOCK_TABLE, UNGUARDED_TABLE].contains(&table.as_str());
        if refuses || is_number_block(&table) {
            let gids = kernel::read(socket, &table, net_admin)?.unwrap_or_default().clients();
            refusals.push(Refusal { table, gids });
        }
    }
    Ok(refusals)
}

/// Reads both tables. Without a `gid` there is nothing to compare them with.
///
/// # Errors
/// When the kernel does not answer.
pub fn read(
    config: &Config,
    ruleset: &Ruleset,
    gid: Option<Gid>,
    net_admin: &NetAdmin,
) -> Result<Standing, kernel::Error> {
    let socket = Socket::open()?;
    let redirect = kernel::read(&socket, TABLE, net_admin)?;
    let block = kernel::read(&socket, BLOCK_TABLE, net_admin)?;
    let keeper = Keeper::of(redirect.as_ref());
    let mut differences = Vec::new();
    let mut expected = None;
    let mut shut = false;
    if let Some(gid) = gid {
        let differ = |table: &Installed, ruleset: &Ruleset| -> Result<_, kernel::Error> {
            Ok(table.differences(&contents(ruleset, gid)?, ruleset))
        };
        let group = config.group.clone();
        if let Some(redirect) = &redirect {
            differences = differ(redirect, ruleset)?;
            expected = Some(contents(ruleset, gid)?);
            shut = differ(redirect, &Ruleset::shut(group, &redirect.ports()))?.is_empty();
        } else if let Some(block) = &block {
            differences = differ(block, &Ruleset::block(config))?;
            shut = differ(block, &Ruleset::block_all(group, &block.ports()))?.is_empty();
        }
    }
    if shut {
        (differences, expected) = (Vec::new(), None);
    }
    let comparable = gid.is_some() && differences.is_empty();
    let state = match &redirect {
        None if block.is_none() => State::Absent,
        _ if shut => State::Shut,
        _ if !comparable => State::Differs,
        None => State::Blocked,
        Some(table) if table.is_owned() => State::Guarded,
        Some(table) if table.is_orphaned() => State::Orphaned,
        Some(_) if keeper.is_some() => State::Watched,
        Some(_) => State::Installed,
    };
    let mut beside = refusals(&socket, net_admin)?;
    beside.retain(|refusal| refusal.table != BLOCK_TABLE);
    Ok(Standing { state, differences, keeper, beside, redirect, expected })
}

/// What the table of `ruleset` holds where it stands.
fn contents(ruleset: &Ruleset, gid: Gid) -> Result<Installed, kernel::Error> {
    Batch::new(&[Change::Put { ruleset, gid, tenure: Tenure::Free }]).contents(ruleset.table)
}
