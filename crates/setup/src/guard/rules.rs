//! The rules that a guard keeps.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use bip324_config::OnExit;
use nix::errno::Errno;

use super::complain;
use crate::exit::Error;
use crate::group::{Gid, Group};
use crate::installed::Installed;
use crate::keeper::Keeper;
use crate::kernel::{self, Batch, Change, Socket, Tenure};
use crate::plan::{BLOCK_TABLE, Config, Purpose, Ruleset, TABLE, UNGUARDED_TABLE};
use crate::privilege::NetAdmin;

/// What is to stand while the guard runs, and what it leaves.
pub(super) struct Wanted {
    /// What it comes to for the clients, on one line.
    pub(super) effect: String,
    /// Why, and what to do about it, as the end of that line; empty where it is what was asked for.
    pub(super) reason: String,
    pub(super) on_exit: OnExit,
    /// The redirect, or what refuses everything in its place.
    held: Ruleset,
    block: Ruleset,
    gid: Gid,
}

impl Wanted {
    /// What `config` asks for.
    pub(super) fn new(config: Config, on_exit: OnExit) -> Result<Self, Error> {
        let held = Ruleset::new(&config)?;
        let block = Ruleset::block(&config);
        let gid = Group::resolve(&config.group)?.gid;
        let (effect, reason) = (config.to_string(), String::new());
        Ok(Self { effect, reason, on_exit, held, block, gid })
    }

    /// Where the configuration cannot be used, for this reason: nobody knows which ports are meant,
    /// nor whether clients are ever to be let out.
    pub(super) fn shut(group: Group, ports: &BTreeSet<u16>, reason: &str) -> Self {
        let Group { name, gid, .. } = group;
        let effect = format!(
            "the configuration cannot be used, so all TCP of group {name} but to this host is refused"
        );
        let reason = format!(": {reason}; mend it, then run `systemctl reload bip324-guard`");
        let held = Ruleset::shut(name.clone(), ports);
        let block = Ruleset::block_all(name, ports);
        Self { effect, reason, on_exit: OnExit::Block, held, block, gid }
    }

    /// Whether it is [`Wanted::shut`].
    pub(super) fn is_shut(&self) -> bool {
        self.held.purpose == Purpose::BlockAll
    }

    /// What `next` lets out that this one does not, a line each.
    pub(super) fn loses(&self, next: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.on_exit == OnExit::Block && next.on_exit == OnExit::Open {
            lines.push(
                "once the guard is stopped, clients connect in plaintext from now on".to_owned(),
            );
        }
        if self.gid != next.gid {
            let group = &self.held.group;
            let was = if self.is_shut() { "refused" } else { "redirected" };
            lines.push(format!("group {group} (gid {}) is not {was} any more", self.gid));
        } else if !self.is_shut() && !next.is_shut() {
            let dropped = self.held.ports.difference(&next.held.ports);
            lines.extend(dropped.map(|port| format!("port {port} is not redirected any more")));
        }
        lines
    }

    /// What is held stands. A table that goes with its socket has the block beneath it, which is
    /// there when the guard is killed; it looks at ports after nat, so it does not disturb.
    fn standing(&self, tenure: Tenure) -> [Change<'_>; 2] {
        let block = match tenure {
            Tenure::Owned => self.block(),
            Tenure::Free | Tenure::Persistent => Change::Remove(BLOCK_TABLE),
        };
        [Change::Put { ruleset: &self.held, gid: self.gid, tenure }, block]
    }

    /// The guard goes. Where a service manager has the socket too, what is held goes on until it
    /// closes that: never on a restart, at once on a stop. Elsewhere it ends with the guard.
    fn leaving(&self, tenure: Tenure, block: bool) -> [Change<'_>; 2] {
        let held = match tenure {
            Tenure::Free => Change::Remove(TABLE),
            Tenure::Owned | Tenure::Persistent => {
                Change::Put { ruleset: &self.held, gid: self.gid, tenure: Tenure::Owned }
            }
        };
        [held, if block { self.block() } else { Change::Remove(BLOCK_TABLE) }]
    }

    fn block(&self) -> Change<'_> {
        Change::Put { ruleset: &self.block, gid: self.gid, tenure: Tenure::Free }
    }
}

/// The kernel's rules, as this guard holds them.
pub(super) struct Rules {
    pub(super) socket: Socket,
    pub(super) net_admin: NetAdmin,
    pub(super) tenure: Tenure,
}

impl Rules {
    /// Puts what is wanted by the first of `tenures` that the kernel knows.
    pub(super) fn put(
        socket: Socket,
        net_admin: NetAdmin,
        tenures: &[Tenure],
        wanted: &Wanted,
    ) -> Result<Self, Error> {
        let mut rules = Self { socket, net_admin, tenure: Tenure::Free };
        let mut last = Ok(());
        for tenure in tenures {
            rules.tenure = *tenure;
            last = rules.replace(wanted);
            let unknown = matches!(
                &last,
                Err(Error::Kernel(error))
                    if matches!(error.refusal(), Some(Errno::EOPNOTSUPP | Errno::EINVAL))
            );
            if !unknown {
                break;
            }
        }
        last.map(|()| rules)
    }

    /// Puts what is wanted in the place of what stands, without a gap, and reads it back. Only then ends
    /// what `block` put for a group that was not guarded: the rules of before, which may have to be put
    /// back, would let it out.
    pub(super) fn replace(&self, wanted: &Wanted) -> Result<(), Error> {
        let batch = self.install(wanted)?;
        for ruleset in [&wanted.held, &wanted.block] {
            let found = self.read(ruleset)?;
            let owned = ruleset.table == TABLE && self.tenure != Tenure::Free;
            if found.is_none() && !owned {
                // Flushed by others already, as they may: the watch tells, and it is put back.
                continue;
            }
            if let Some(difference) = difference(found, ruleset, &batch)? {
                return Err(Error::NotInstalled(difference));
            }
        }
        // Whether it was removed need not be known: beneath a redirect it does no harm.
        if let Err(error) = self.apply(&Batch::new(&[Change::Remove(UNGUARDED_TABLE)])) {
            complain(&format!("warning: table inet {UNGUARDED_TABLE} may stay: {}", error.line()));
        }
        Ok(())
    }

    /// Puts what is wanted in the place of what stands, and takes the kernel's word for it.
    pub(super) fn install(&self, wanted: &Wanted) -> Result<Batch, Error> {
        let batch = Batch::new(&wanted.standing(self.tenure));
        self.apply(&batch)?;
        Ok(batch)
    }

    /// Puts back what has been changed, if anything has.
    pub(super) fn restore(&self, wanted: &Wanted) -> Result<Option<String>, Error> {
        let batch = Batch::new(&wanted.standing(self.tenure));
        let difference = self.first_difference(wanted, &batch)?;
        if difference.is_some() {
            self.apply(&batch)?;
        }
        Ok(difference)
    }

    /// Leaves the rules that are to stay behind.
    pub(super) fn leave(&self, wanted: &Wanted, block: bool) -> Result<(), Error> {
        self.apply(&Batch::new(&wanted.leaving(self.tenure, block)))
    }

    fn apply(&self, batch: &Batch) -> Result<(), Error> {
        apply(&self.socket, batch, &self.net_admin)
    }

    fn first_difference(&self, wanted: &Wanted, batch: &Batch) -> Result<Option<String>, Error> {
        for ruleset in [&wanted.held, &wanted.block] {
            let difference = difference(self.read(ruleset)?, ruleset, batch)?;
            if difference.is_some() {
                return Ok(difference);
            }
        }
        Ok(None)
    }

    fn read(&self, ruleset: &Ruleset) -> Result<Option<Installed>, Error> {
        Ok(kernel::read(&self.socket, ruleset.table, &self.net_admin)?)
    }
}

/// The first thing that distinguishes the table that was read from what `batch` makes of it.
fn difference(
    found: Option<Installed>,
    ruleset: &Ruleset,
    batch: &Batch,
) -> Result<Option<String>, Error> {
    let expected = batch.contents(ruleset.table)?;
    Ok(found.unwrap_or_default().differences(&expected, ruleset).into_iter().next())
}

/// Applies a batch; where another socket owns the table, says which.
pub fn apply(socket: &Socket, batch: &Batch, net_admin: &NetAdmin) -> Result<(), Error> {
    let Err(error) = kernel::apply(socket, batch, net_admin) else {
        return Ok(());
    };
    if error.refusal() == Some(Errno::EPERM) {
        let table = kernel::read(socket, TABLE, net_admin)?;
        if let Some(keeper) = Keeper::of(table.as_ref()) {
            return Err(Error::Held(keeper));
        }
    }
    Err(error.into())
}

/// Of the sockets that were passed, the one to go on with: the one that owns the table, or else
/// the first. Tells what was wrong with each that is none.
pub(super) fn adopt(
    passed: &[OwnedFd],
    net_admin: &NetAdmin,
) -> Result<(Option<Socket>, Vec<kernel::Error>), Error> {
    let mut sockets = Vec::new();
    let mut refused = Vec::new();
    for descriptor in passed {
        match Socket::adopt(descriptor, net_admin) {
            Ok(socket) => sockets.push(socket),
            Err(error) => refused.push(error),
        }
    }
    let Some(first) = sockets.first() else {
        return Ok((None, refused));
    };
    let owner = kernel::read(first, TABLE, net_admin)?.and_then(|table| table.owner);
    let owning = sockets.iter().position(|socket| Some(socket.port_id()) == owner);
    Ok((Some(sockets.swap_remove(owning.unwrap_or(0))), refused))
}
