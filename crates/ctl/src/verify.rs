//! `bip324ctl verify`: whether a session has the id that the peer's owner has read out, which is the
//! only way to notice somebody in the middle.

use std::path::Path;

use bip324_control::{Kind, Scope, Session};
use serde::Serialize;

use crate::cli;
use crate::client::Client;
use crate::exit::{Error, Exit, Outcome};
use crate::id::{distance, heard};
use crate::printable::json;
use crate::units;
use crate::words::wrapped;

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether a session has the id.
    pub matches: bool,
    /// That session.
    pub session: Option<Session>,
    /// Where none has it: one that has it but for a few digits, and for how many.
    pub nearest: Option<Nearest>,
    /// Sessions whose ids were compared.
    pub compared: usize,
    /// Whose they are.
    pub scope: Scope,
}

/// A session whose id may have been misheard.
#[derive(Debug, Serialize)]
pub struct Nearest {
    /// Its number.
    pub id: u64,
    /// Digits that differ.
    pub digits: usize,
}

/// Runs the command.
///
/// # Errors
/// When that is no id, or the daemon cannot be asked.
pub async fn run(socket: &Path, arguments: &cli::Verify) -> Outcome {
    let id = heard(&arguments.words).map_err(Error::NoId)?;
    let (scope, sessions) = Client::connect(socket).await?.sessions().await?;
    let report = Report::new(&id, scope, sessions);
    let exit = if report.matches { Exit::Ok } else { Exit::NoMatch };
    Ok((if arguments.output.json { json(&report) } else { report.text() }, exit))
}

impl Report {
    /// Compares the id with those of the sessions.
    #[must_use]
    pub fn new(id: &str, scope: Scope, sessions: Vec<Session>) -> Self {
        let known = |session: &&Session| session.kind == Kind::V2 && session.session_id.is_some();
        let compared = sessions.iter().filter(known).count();
        let far = |session: &Session| distance(id, session.session_id.as_deref().unwrap_or(""));
        let near = sessions.iter().filter(known).map(|session| (far(session), session.id));
        let nearest = near.min().filter(|(digits, _)| (1..=MISHEARD).contains(digits));
        let nearest = nearest.map(|(digits, id)| Nearest { id, digits });
        let session =
            sessions.into_iter().find(|session| session.session_id.as_deref() == Some(id));
        Self { matches: session.is_some(), session, nearest, compared, scope }
    }

    /// Whether, and what that means.
    #[must_use]
    pub fn text(&self) -> String {
        let Some(session) = &self.session else { return self.no_match() };
        format!(
            "MATCH: session {} to {} has this id. If it was read from that peer itself, nobody sits \
             in between.\n",
            session.id, session.destination
        )
    }

    fn no_match(&self) -> String {
        let whose = match self.scope {
            Scope::All => "the",
            Scope::Own => "this user's",
        };
        let compared = units::counted(self.compared as u64, "v2 session", "v2 sessions");
        let mut text = format!("NO MATCH: none of {whose} {compared} has this id.\n\n");
        if let Some(Nearest { id, digits }) = &self.nearest {
            let digits = units::counted(*digits as u64, "digit", "digits");
            text += &format!("Session {id} has it but for {digits}: have it read once more.\n\n");
        }
        for cause in CAUSES {
            for (at, line) in wrapped(cause, 76).into_iter().enumerate() {
                text += &format!("{}{line}\n", if at == 0 { "  - " } else { "    " });
            }
        }
        text
    }
}

const CAUSES: [&str; 4] = [
    "A digit was misheard, or it is the id of another connection of that peer: have it read once more, \
     from the entry of `bitcoin-cli getpeerinfo` with this host's address.",
    "The session has ended: a new one has a new id.",
    "The session is another user's: ask as root.",
    "Or SOMEBODY SITS IN THE MIDDLE, decrypts what both sides say and encrypts it again: the two ends \
     then see different ids. If the others are ruled out, do not trust this connection.",
];

/// Digits that may have been misheard; two ids that have nothing to do with each other differ in 60.
const MISHEARD: usize = 4;
