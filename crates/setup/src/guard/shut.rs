//! What a guard holds whose configuration cannot be used.

use super::complain;
use super::rules::Wanted;
use crate::cli;
use crate::exit::Error;
use crate::group::{Group, GroupName};
use crate::kernel::{self, Socket};
use crate::plan::{BLOCK_TABLE, TABLE};
use crate::privilege::NetAdmin;

/// The group to refuse: the one that is most likely meant.
///
/// # Errors
/// When there is no such group.
pub(super) fn whom(arguments: &cli::Guard, net_admin: &NetAdmin) -> Result<Group, Error> {
    match arguments.redirect.likely_group() {
        Some(name) => Ok(Group::resolve(&name)?),
        None => guess(net_admin),
    }
}

/// Refuses that group, and says why.
pub(super) fn instead(arguments: &cli::Guard, group: Group, unusable: &Error) -> Wanted {
    let reason = unusable.line();
    complain(&format!("the configuration cannot be used: {reason}"));
    Wanted::shut(group, &arguments.redirect.likely_ports(), &reason)
}

/// The group that the rules are about which stand: a guess must not let it go. Otherwise the default.
fn guess(net_admin: &NetAdmin) -> Result<Group, Error> {
    let socket = Socket::open()?;
    for table in [TABLE, BLOCK_TABLE] {
        let standing = kernel::read(&socket, table, net_admin)?.unwrap_or_default();
        if let Some(group) = standing.clients().into_iter().find_map(Group::of_gid) {
            return Ok(group);
        }
    }
    Ok(Group::resolve(&GroupName::default())?)
}
