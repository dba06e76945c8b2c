//! What the daemon has counted, by its control socket.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bip324_control::{Answer, Flow, Request, Status, Traffic, TypeCount, line, parse};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::prerequisite::DAEMON_USER;
use bip324_testkit::wait::{PATIENCE, wait_for};
use nix::unistd::User;

/// A daemon that can be asked.
pub(crate) struct Counting<'lab> {
    _daemon: Daemon<'lab>,
    socket: PathBuf,
}

impl<'lab> Counting<'lab> {
    pub(crate) fn start(lab: &'lab Lab) -> Result<Self> {
        let folder = lab.folder().join("control");
        fs::create_dir(&folder)?;
        let user = User::from_name(DAEMON_USER)?.context("no user of the daemon")?;
        chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let socket = folder.join("socket");
        let path = socket.display().to_string();
        let daemon = Daemon::start_quietly(lab, &["--control", &path])?;
        Ok(Self { _daemon: daemon, socket })
    }

    pub(crate) fn status(&self) -> Result<Status> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(&line(&Request::Status {})?)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        match parse(answer.as_bytes())? {
            Answer::Status(status) => Ok(*status),
            other => bail!("no status, but {other:?}"),
        }
    }

    /// Once no session is left, so that all of them count to their last byte.
    pub(crate) fn at_the_end(&self) -> Result<Status> {
        wait_for("the session to end", PATIENCE, || {
            Ok(Some(self.status()?).filter(|status| status.sessions.v2 == 0))
        })
    }
}

/// What came between two readings.
pub(crate) fn between(before: &Traffic, after: &Traffic) -> Traffic {
    Traffic {
        v2_to_peer: less(&after.v2_to_peer, &before.v2_to_peer),
        v2_to_client: less(&after.v2_to_client, &before.v2_to_client),
        types_to_peer: types(&after.types_to_peer, &before.types_to_peer),
        types_to_client: types(&after.types_to_client, &before.types_to_client),
        ..Traffic::default()
    }
}

fn less(after: &Flow, before: &Flow) -> Flow {
    Flow {
        client_bytes: after.client_bytes - before.client_bytes,
        peer_bytes: after.peer_bytes - before.peer_bytes,
        messages: after.messages - before.messages,
        dropped: after.dropped - before.dropped,
        last: None,
    }
}

fn types(after: &[TypeCount], before: &[TypeCount]) -> Vec<TypeCount> {
    let before: BTreeMap<_, _> = before.iter().map(|count| (&count.name, count)).collect();
    let less = |count: &TypeCount| {
        let mut count = count.clone();
        if let Some(before) = before.get(&count.name) {
            count.messages -= before.messages;
            count.client_bytes -= before.client_bytes;
            count.peer_bytes -= before.peer_bytes;
        }
        count
    };
    after.iter().map(less).filter(|count| count.messages > 0).collect()
}
