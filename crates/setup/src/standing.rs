//! Which rules stand, beside those that were asked about.

use serde::Serialize;

use crate::group::Gid;
use crate::installed::Installed;
use crate::keeper::Keeper;
use crate::kernel::{self, Batch, Change, Socket, Tenure};
use crate::plan::{BLOCK_TABLE, Config, Ruleset, TABLE};
use crate::privilege::NetAdmin;

/// The state of the redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There are no rules: clients connect in plaintext.
    Absent,
    /// A block refuses the clients, as a guard that was stopped leaves it.
    Blocked,
    /// A block refuses all TCP of the group, since the configuration could not be used.
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
    /// The redirect's table.
    pub redirect: Option<Installed>,
    /// What the redirect's table should hold; `None` without a group.
    pub expected: Option<Installed>,
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
    let mut blocked = State::Blocked;
    if let Some(gid) = gid {
        if let Some(redirect) = &redirect {
            let contents = contents(ruleset, gid)?;
            differences = redirect.differences(&contents, ruleset);
            expected = Some(contents);
        } else if let Some(block) = &block {
            let ruleset = Ruleset::block(config);
            differences = block.differences(&contents(&ruleset, gid)?, &ruleset);
            let ruleset = Ruleset::block_all(config.group.clone());
            if block.differences(&contents(&ruleset, gid)?, &ruleset).is_empty() {
                (blocked, differences) = (State::Shut, Vec::new());
            }
        }
    }
    let comparable = gid.is_some() && differences.is_empty();
    let state = match &redirect {
        None if block.is_none() => State::Absent,
        _ if !comparable => State::Differs,
        None => blocked,
        Some(table) if table.is_owned() => State::Guarded,
        Some(table) if table.is_orphaned() => State::Orphaned,
        Some(_) if keeper.is_some() => State::Watched,
        Some(_) => State::Installed,
    };
    Ok(Standing { state, differences, keeper, redirect, expected })
}

/// What the table of `ruleset` holds where it stands.
fn contents(ruleset: &Ruleset, gid: Gid) -> Result<Installed, kernel::Error> {
    Batch::new(&[Change::Put { ruleset, gid, tenure: Tenure::Free }]).contents(ruleset.table)
}
