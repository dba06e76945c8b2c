//! The log where systemd runs the daemon: a socket in the place of the journal's, in a mount namespace
//! of the daemon's own, takes what that one would.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::peer::PATIENCE;
use bip324_testkit::wait::wait_for;
use nix::sys::signal::Signal;

use crate::harness::*;
use crate::program::Program;

/// Stands in for systemd-journald.
pub(crate) struct Journal {
    socket: UnixDatagram,
    /// What is to be at /run/systemd/journal.
    pub(crate) folder: PathBuf,
}

/// The fields of one entry.
type Entry = BTreeMap<String, String>;

impl Journal {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let folder = folder.join("journal");
        fs::create_dir(&folder)?;
        let path = folder.join("socket");
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket, folder })
    }

    /// Has its queue filled by somebody, so that it takes no more.
    fn fill(&self) -> Result<()> {
        let somebody = UnixDatagram::unbound()?;
        somebody.set_nonblocking(true)?;
        let path = self.folder.join("socket");
        while somebody.send_to(b"MESSAGE=noise\n", &path).is_ok() {}
        Ok(())
    }

    /// Reads all that waits.
    fn empty(&self) {
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
    }

    /// The next entry whose text contains `text`.
    pub(crate) fn wait_for(&self, text: &str) -> Result<Entry> {
        let mut buffer = vec![0; 256 * 1024];
        wait_for(&format!("{text:?} in the journal"), PATIENCE, || {
            let Ok(length) = self.socket.recv(&mut buffer) else {
                return Ok(None);
            };
            let entry = fields(buffer.get(..length).context("too long")?)?;
            let found = entry.get("MESSAGE").is_some_and(|message| message.contains(text));
            Ok(found.then_some(entry))
        })
    }
}

/// As systemd's "Native Journal Protocol" has it: `NAME=value`, or the name alone, a length of 64 bits and
/// the value, each ended by a newline.
fn fields(mut datagram: &[u8]) -> Result<Entry> {
    let mut entry = Entry::new();
    while !datagram.is_empty() {
        let end = datagram.iter().position(|&byte| byte == b'\n').context("no newline")?;
        let line = std::str::from_utf8(&datagram[..end])?;
        datagram = &datagram[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            entry.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let (length, rest) = datagram.split_first_chunk().context("no length")?;
        let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length))?);
        datagram = rest.strip_prefix(b"\n").context("no newline after a value")?;
        entry.insert(line.to_owned(), String::from_utf8(value.to_vec())?);
    }
    Ok(entry)
}

#[test]
fn an_entry_is_read_as_its_protocol_says() {
    let read = fields(b"A=b=c\nM\n\x03\0\0\0\0\0\0\0x\ny\n").unwrap();
    assert_eq!(read, [("A", "b=c"), ("M", "x\ny")].map(|(a, b)| (a.into(), b.into())).into());
}

#[tokio::test]
async fn under_systemd_the_log_goes_to_the_journal_from_within_the_sandbox() -> Result<()> {
    let (program, journal) = Program::start_with_journal(&["--log", "debug"])?;
    let (client, session) = program.open().await?;
    let established = journal.wait_for("session established")?;
    let address = session.wire.stream.local_addr()?.to_string();
    for (field, value) in [
        ("PRIORITY", "7"),
        ("SYSLOG_IDENTIFIER", "bip324-proxy"),
        ("CODE_FILE", "crates/proxy/src/session.rs"),
        ("BIP324_TO", &address),
        ("BIP324_KIND", "V2"),
        ("BIP324_SESSION_ID", &session.id.to_string()),
    ] {
        ensure!(established.get(field).map(String::as_str) == Some(value), "{established:#?}");
    }
    let line = &established["MESSAGE"];
    ensure!(line.contains(&format!(" session_id={}", session.id)), "{line}");
    let session_id = session.id.to_string();
    drop((client, session));
    let ended = journal.wait_for("session ended: ")?;
    ensure!(ended["BIP324_SESSION_ID"] == session_id, "{ended:#?}");

    let mut refused = program.connect().await?;
    refused.write(&message("verack", &[])).await?;
    assert_refused(&mut refused).await?;
    let refusal = journal.wait_for("connection refused")?;
    ensure!(refusal["PRIORITY"] == "6", "{refusal:#?}");
    ensure!(refusal["BIP324_REASON"] == "not_version", "{refusal:#?}");

    program.process.signal(Signal::SIGTERM)?;
    journal.wait_for("stopping")?;
    // Not a second time on standard error, which the journal reads as well.
    ensure!(program.process.log()?.is_empty(), "{}", program.process.log()?);
    Ok(())
}

#[tokio::test]
async fn a_journal_that_is_full_holds_no_session_up() -> Result<()> {
    let (program, journal) = Program::start_with_journal(&["--log", "debug"])?;
    journal.fill()?;
    let (mut client, mut session) = program.open().await?;
    assert_served(&mut client, &mut session).await?;
    journal.empty();
    let (_client, _session) = program.open().await?;
    let entry = journal.wait_for("(the journal did not take ")?;
    ensure!(entry["BIP324_LOST"].parse::<u64>()? > 0, "{entry:#?}");
    Ok(())
}

#[tokio::test]
async fn where_the_journal_reads_another_stream_lines_are_for_people() -> Result<()> {
    for stream in ["1:1", "nonsense"] {
        let program = Program::start_in_environment(&[("JOURNAL_STREAM", stream)])?;
        let log = program.process.log()?;
        ensure!(log.contains(" INFO ready, listening on "), "{log}");
    }
    Ok(())
}
