//! What a guard holds whose configuration cannot be used.

use super::complain;
use super::rules::Wanted;
use crate::cli;
use crate::exit::Error;
use crate::group::{Group, GroupName};
use crate::kernel::{self, Socket};
use crate::plan::{BLOCK_TABLE, TABLE};
use crate::privilege::NetAdmin;

/// Refuses the group that is most likely meant, and says why.
///
/// # Errors
/// What is wrong with the configuration, where there is no such group.
pub(super) fn instead(
    arguments: &cli::Guard,
    unusable: bip324_config::Error,
    net_admin: &NetAdmin,
) -> Result<Wanted, Error> {
    let unusable = Error::from(unusable);
    let group = match arguments.redirect.likely_group() {
        Some(name) => Group::resolve(&name).map_err(Error::from),
        None => guess(net_admin),
    };
    match group {
        Ok(group) => {
            let reason = unusable.line();
            complain(&format!("the configuration cannot be used: {reason}"));
            Ok(Wanted::shut(group, &reason))
        }
        Err(error) => {
            complain(&format!("nobody can be refused instead: {}", error.line()));
            Err(unusable)
        }
    }
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
