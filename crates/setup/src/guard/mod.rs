//! The guard: a resident process that keeps the redirect standing.
//!
//! It owns its table, so that no other process can change it. A service manager keeps a copy of
//! the netlink socket, to which the kernel ties the ownership, so that the table outlives the
//! guard. Where the kernel knows no owners, the guard watches and puts back what was changed.
//! Plain `poll` on one thread: it wakes for signals, for the watchdog, and to restore.

mod manager;
mod rules;
mod shut;

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bip324_config::OnExit;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::cli;
use crate::exit::Error;
use crate::keeper::{self, Claim};
use crate::kernel::{Socket, Tenure, Watch};
use crate::link;
use crate::plan::{BLOCK_TABLE, TABLE};
use crate::privilege::{self, NetAdmin};

use rules::{Rules, Wanted};

pub use rules::apply;

/// Guards the redirect until SIGTERM or SIGINT; SIGHUP reads the configuration again. Until there is one
/// that can be used, guards what refuses the clients.
///
/// # Errors
/// When it cannot start, and where another process takes the table or the kernel keeps this one
/// from leaving what it should.
pub fn run(arguments: &cli::Guard) -> Result<(), Error> {
    let read = arguments.config();
    if let Err(lacking) = privilege::require_net_admin() {
        return Err(read.err().map_or_else(|| lacking.into(), Error::from));
    }
    let signals = block_signals().map_err(Error::Signals)?;
    let net_admin = NetAdmin::keep_only()?;
    let wanted = match read {
        Ok((config, on_exit)) => Wanted::new(config, on_exit)?,
        Err(unusable) => {
            let unusable = Error::from(unusable);
            match shut::whom(arguments, &net_admin) {
                Ok(group) => shut::instead(arguments, group, &unusable),
                Err(error) => {
                    complain(&format!("nobody can be refused instead: {}", error.line()));
                    return Err(unusable);
                }
            }
        }
    };
    if !net_admin.bounding_emptied() {
        complain("the bounding set of capabilities stays as it was: emptying it takes CAP_SETPCAP");
    }
    let mut guard = Guard {
        claim: claim()?,
        answer: None,
        signals,
        rules: load(&wanted, net_admin, arguments)?,
        watch: None,
        retry: None,
        wanted,
        arguments,
    };
    if guard.rules.tenure != Tenure::Persistent {
        guard.watch = Some(Watch::open(&guard.rules.net_admin)?);
    }
    guard.announce()?;
    guard.stay()
}

struct Guard<'a> {
    /// `None` where another program has the name.
    claim: Option<Claim>,
    /// When to answer again those who ask, where that failed.
    answer: Option<Instant>,
    signals: SignalFd,
    rules: Rules,
    /// Where others can change what is to stand.
    watch: Option<Watch>,
    /// When to look at the rules again, where they could not be read or put back.
    retry: Option<Instant>,
    wanted: Wanted,
    arguments: &'a cli::Guard,
}

impl Guard<'_> {
    /// Says what stands, and makes up for what was changed before it was watched.
    fn announce(&self) -> Result<(), Error> {
        match link::loopback().map(link::Loopback::fault) {
            Ok(None) => {}
            Ok(Some(fault)) => complain(&format!("warning: {fault}")),
            Err(error) => complain(&format!("warning: {error}")),
        }
        if self.watch.is_some() {
            self.rules.restore(&self.wanted)?;
        }
        let status = self.status(None);
        say(&mut io::stdout(), &status);
        if self.rules.tenure == Tenure::Free {
            complain(&format!(
                "warning: nobody owns table inet {TABLE}: `nft flush ruleset` opens a gap of up to \
                 {RESTORE_MILLIS} ms, or more on a busy machine, in which clients connect in plaintext"
            ));
        }
        told(manager::ready(&status));
        Ok(())
    }

    /// What stands; and why, or why it was not replaced: that comes instead, since the file has changed.
    fn status(&self, not_reloaded: Option<&str>) -> String {
        let means = match self.rules.tenure {
            Tenure::Persistent | Tenure::Owned => "guarded by owning the table",
            Tenure::Free => "guarded by watching the table",
        };
        let Wanted { effect, reason, .. } = &self.wanted;
        match not_reloaded {
            None => format!("{effect}{reason}; {means}"),
            Some(line) => format!("{effect}; {means}; not reloaded: {line}"),
        }
    }

    fn stay(&mut self) -> Result<(), Error> {
        let period = manager::watchdog_period();
        let mut next = period.map(|period| Instant::now() + period);
        loop {
            let until = [next, self.retry, self.answer].into_iter().flatten().min();
            self.wait(until).map_err(Error::Signals)?;
            if next.is_some_and(|next| next <= Instant::now()) {
                told(manager::alive());
                next = period.map(|period| Instant::now() + period);
            }
            if let Some(claim) = &self.claim {
                self.answer = claim.answer().err().map(|_| Instant::now() + PAUSE);
            }
            self.restore()?;
            while let Some(signal) = self.signals.read_signal().map_err(Error::Signals)? {
                if signal.ssi_signo == Signal::SIGHUP as u32 {
                    self.reload();
                } else {
                    return self.stop();
                }
            }
        }
    }

    /// Waits for anything to do, or until then.
    fn wait(&self, until: Option<Instant>) -> Result<(), Errno> {
        // It would be readable all the time.
        let claim = self.claim.as_ref().filter(|_| self.answer.is_none()).map(AsFd::as_fd);
        let watch = self.watch.as_ref().map(AsFd::as_fd);
        let mut descriptors: Vec<PollFd<'_>> = [Some(self.signals.as_fd()), claim, watch]
            .into_iter()
            .flatten()
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            // Rounded up, so that the time has come when it is over.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Puts back what somebody changed. What cannot be put back now is tried again: only where
    /// another process has come to own the table is there nothing left to guard.
    fn restore(&mut self) -> Result<(), Error> {
        let due = self.retry.is_some_and(|retry| retry <= Instant::now());
        let changed = match &self.watch {
            Some(watch) => watch.changed(&[TABLE, BLOCK_TABLE])?,
            None => false,
        };
        if !changed && !due {
            return Ok(());
        }
        let failing = self.retry.take().is_some();
        match self.rules.restore(&self.wanted) {
            Ok(None) => {}
            Ok(Some(difference)) => complain(&format!("put the rules back: {difference}")),
            Err(Error::Held(keeper)) => return Err(Error::Held(keeper)),
            Err(error) => {
                // Once, not with each attempt.
                if !failing {
                    complain(&format!("cannot put the rules back yet: {}", error.line()));
                }
                self.retry = Some(Instant::now() + RETRY);
            }
        }
        Ok(())
    }

    /// Replaces the rules by those of the configuration as it is now, or keeps them.
    fn reload(&mut self) {
        told(manager::reloading());
        let status = match self.replace() {
            Ok(()) => self.status(None),
            Err((outcome, line)) => {
                complain(&format!("not reloaded, {outcome}: {line}"));
                self.status(Some(&line))
            }
        };
        told(manager::ready(&status));
    }

    /// As [`Guard::reload`]; where that fails, says what stands and why.
    fn replace(&mut self) -> Result<(), (&'static str, String)> {
        let wanted = self.read().map_err(|error| ("the rules stay as they were", error.line()))?;
        self.rules.replace(&wanted).map_err(|error| (self.put_back(), error.line()))?;
        for loss in self.wanted.loses(&wanted) {
            complain(&format!("warning: {loss}"));
        }
        self.wanted = wanted;
        Ok(())
    }

    /// What the configuration asks for now. What stands is better than nothing but refusals, unless that
    /// is what stands.
    fn read(&self) -> Result<Wanted, Error> {
        match self.arguments.config() {
            Ok((config, on_exit)) => Wanted::new(config, on_exit),
            Err(unusable) => {
                let unusable = Error::from(unusable);
                let whom = || shut::whom(self.arguments, &self.rules.net_admin).ok();
                match self.wanted.is_shut().then(whom).flatten() {
                    Some(group) => Ok(shut::instead(self.arguments, group, &unusable)),
                    None => Err(unusable),
                }
            }
        }
    }

    /// Puts the rules of before in the place of new ones, which may stand although it was not seen
    /// that they do. Says how that went.
    fn put_back(&mut self) -> &'static str {
        if self.rules.install(&self.wanted).is_ok() {
            return "the rules of before are put back";
        }
        self.retry = Some(Instant::now() + RETRY);
        "the rules of before are not put back yet"
    }

    fn stop(&self) -> Result<(), Error> {
        let block = self.wanted.on_exit == OnExit::Block;
        let status = if block {
            "stopped: clients are refused until `bip324-setup guard`, `up` or `down`"
        } else {
            "stopped: clients connect in plaintext from now on"
        };
        told(manager::stopping(status));
        self.rules.leave(&self.wanted, block)?;
        say(&mut io::stdout(), status);
        Ok(())
    }
}

/// Claims the namespace. A name that any user can take is no reason not to guard.
fn claim() -> Result<Option<Claim>, Error> {
    match Claim::new() {
        Ok(claim) => Ok(Some(claim)),
        Err(keeper::Error::Guarded(keeper)) => Err(Error::Held(keeper)),
        Err(error) => {
            complain(&format!("warning: other commands cannot find this guard: {error}"));
            Ok(None)
        }
    }
}

/// Puts the rules, through the socket that the service manager has kept if there is one, and sees
/// to it that it keeps this one.
fn load(wanted: &Wanted, net_admin: NetAdmin, arguments: &cli::Guard) -> Result<Rules, Error> {
    let (passed, others) = manager::passed().map_err(Error::Passed)?;
    for name in others {
        complain(&format!(
            "warning: descriptor {name:?} that was passed is not for a guard: ignored"
        ));
    }
    let (adopted, refused) = rules::adopt(&passed, &net_admin)?;
    for error in &refused {
        complain(&format!("warning: a descriptor \"nft\" that was passed is ignored: {error}"));
    }
    let kept = adopted.is_some() && passed.len() == 1;
    let socket = adopted.map_or_else(Socket::open, Ok)?;
    let rules = Rules::put(socket, net_admin, tenures(arguments), wanted)?;
    keep(&rules, &passed, kept);
    Ok(rules)
}

/// Leaves the service manager with the socket that owns the table, and with no other.
fn keep(rules: &Rules, passed: &[OwnedFd], kept: bool) {
    let owned = rules.tenure != Tenure::Free;
    if owned && kept {
        return;
    }
    if !passed.is_empty() {
        told(manager::unpark());
    }
    if owned {
        told(manager::park(&rules.socket));
    }
}

/// What to try, best first.
fn tenures(arguments: &cli::Guard) -> &'static [Tenure] {
    match (arguments.no_owner, arguments.no_persist) {
        (true, _) => &[Tenure::Free],
        (false, true) => &[Tenure::Owned, Tenure::Free],
        (false, false) => &[Tenure::Persistent, Tenure::Owned, Tenure::Free],
    }
}

/// From now on these signals wait until they are read.
fn block_signals() -> Result<SignalFd, Errno> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// A service manager that does not listen is told of on standard error.
fn told(result: io::Result<()>) {
    if let Err(error) = result {
        complain(&format!("warning: cannot tell the service manager: {error}"));
    }
}

fn complain(line: &str) {
    say(&mut io::stderr(), &format!("bip324-setup: {line}"));
}

/// Prints a line, unless that would have to wait: nobody need read it, and a reader that stands still
/// must not hold up the guard.
fn say(output: &mut (impl Write + AsFd), line: &str) {
    let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0) {
        let _ = output.write_all(format!("{line}\n").as_bytes());
    }
}

/// Between two attempts to put the rules back.
const RETRY: Duration = Duration::from_millis(20);

/// For which those who ask wait where they could not be answered.
const PAUSE: Duration = Duration::from_secs(1);

/// Time in which a change is put back.
const RESTORE_MILLIS: u32 = 100;
