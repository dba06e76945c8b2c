//! Refuses the clients, whatever has become of the redirect and of the configuration.
//!
//! The block may stand beneath a redirect: it looks at packets after nat, so it meets only what the
//! redirect did not take. So it is put without asking whether one stands, which may be over a moment
//! later. Only a guard that runs is left alone: it sees to its tables itself. A group that it does not
//! guard is refused by a table beside them.

use crate::cli::Redirect;
use crate::exit::Error;
use crate::group::Group;
use crate::guard;
use crate::installed::Installed;
use crate::keeper::Keeper;
use crate::kernel::{self, Batch, Change, Socket, Tenure};
use crate::plan::{Purpose, Ruleset, TABLE, UNGUARDED_TABLE};
use crate::privilege::{self, NetAdmin};

/// The block that a configuration asks for, or that takes its place.
#[derive(Debug)]
pub struct Block {
    /// Its rules.
    pub ruleset: Ruleset,
    /// Why they are not those of the configuration.
    pub unusable: Option<Error>,
    /// The configuration does not even tell the group.
    guessed: bool,
}

/// What stands once the block was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The block.
    Put,
    /// The block, beneath a redirect.
    Beneath,
    /// A block of before, which may be another group's.
    Kept,
    /// What this guard keeps there.
    Guarded(i32),
}

impl Block {
    /// What `redirect` asks for. Where its file cannot be used, all of TCP: any port may be meant.
    #[must_use]
    pub fn new(redirect: &Redirect) -> Self {
        match planned(redirect) {
            Ok(ruleset) => Self { ruleset, unusable: None, guessed: false },
            Err(error) => {
                let group = redirect.likely_group();
                let guessed = group.is_none();
                let group = group.unwrap_or_default();
                let ruleset = Ruleset::block_all(group, &redirect.likely_ports());
                Self { ruleset, unusable: Some(error), guessed }
            }
        }
    }

    /// Has it stand, without a gap if another stands.
    ///
    /// # Errors
    /// When the group does not exist, or the kernel refuses.
    pub fn put(&self) -> Result<Standing, Error> {
        privilege::require_net_admin()?;
        let gid = Group::resolve(&self.ruleset.group)?.gid;
        let net_admin = NetAdmin::keep_only()?;
        let socket = Socket::open()?;
        let redirect = kernel::read(&socket, TABLE, &net_admin)?;
        let mut ruleset = self.ruleset.clone();
        if let Some(Keeper { guard: Some(pid), .. }) = Keeper::of(redirect.as_ref()) {
            // Of a guard whose table was flushed this moment, its group cannot be told: beneath a redirect
            // the third table does no harm.
            let guards = |table: &Installed| table.clients().contains(&gid.as_raw());
            if self.guessed || redirect.as_ref().is_some_and(guards) {
                return Ok(Standing::Guarded(pid));
            }
            ruleset.table = UNGUARDED_TABLE;
        }
        let ruleset = &ruleset;
        let batch = Batch::new(&[Change::Put { ruleset, gid, tenure: Tenure::Free }]);
        let expected = batch.contents(ruleset.table)?;
        let read = || kernel::read(&socket, ruleset.table, &net_admin);
        let before = read()?;
        if self.guessed && before.is_some() {
            return Ok(Standing::Kept);
        }
        if !before.unwrap_or_default().differences(&expected, ruleset).is_empty() {
            guard::apply(&socket, &batch, &net_admin)?;
            let installed = read()?.unwrap_or_default();
            if let Some(difference) = installed.differences(&expected, ruleset).first() {
                return Err(Error::NotInstalled(difference.clone()));
            }
        }
        Ok(if redirect.is_some() { Standing::Beneath } else { Standing::Put })
    }

    /// What that means for the clients, on one line.
    #[must_use]
    pub fn says(&self, standing: Standing) -> String {
        let Ruleset { group, ports, purpose, .. } = &self.ruleset;
        let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        let refused = match purpose {
            Purpose::BlockAll => format!("group {group}: all TCP but to this host is refused"),
            _ => format!("group {group}: connections to port {ports} are refused"),
        };
        match standing {
            Standing::Put => refused,
            Standing::Beneath => format!("{refused}, unless the redirect that stands takes them"),
            Standing::Kept => "the block that stands is kept".to_owned(),
            Standing::Guarded(pid) => format!("process {pid}, a guard, sees to the rules"),
        }
    }
}

fn planned(redirect: &Redirect) -> Result<Ruleset, Error> {
    let config = redirect.config()?;
    Ruleset::new(&config)?;
    Ok(Ruleset::block(&config))
}
