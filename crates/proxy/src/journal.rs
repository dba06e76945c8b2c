//! systemd's journal, by its native protocol: one datagram an entry, a line for people in `MESSAGE` and
//! each value in a field of its own.
//!
//! tracing-journald does the same but for the line, which then lacks every value: `journalctl` would show
//! no session id. It also hands long entries over in memory files, which the sandbox forbids; ours are
//! short.

use std::fmt::{Debug, Write};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Writes every event there that it takes at once: one that is stopped or busy must not stop sessions.
/// What it does not take is lost, and the next entry tells how much that was.
#[derive(Debug)]
pub(crate) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    lost: AtomicU64,
}

impl Journal {
    /// # Errors
    /// Nobody takes entries.
    pub(crate) fn open() -> io::Result<Self> {
        Self::at(SOCKET.into())
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        let journal = Self { socket: UnixDatagram::unbound()?, path, lost: AtomicU64::new(0) };
        journal.socket.set_nonblocking(true)?;
        // As sd_journal_sendv(3) does not: the journal ignores what is empty.
        match journal.send(&[]) {
            // It is there, and busy.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            sent => drop(sent?),
        }
        Ok(journal)
    }

    /// By its name each time, so that a journal that was started again is found.
    fn send(&self, entry: &[u8]) -> io::Result<usize> {
        self.socket.send_to(entry, &self.path)
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if self.send(&values.entry(event, lost)).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Values {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Values {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, format!("{value:?}"));
    }
}

impl Values {
    fn take(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name(), value));
        }
    }

    fn entry(mut self, event: &Event<'_>, lost: u64) -> Vec<u8> {
        let metadata = event.metadata();
        let mut entry = Vec::new();
        put(&mut entry, "PRIORITY", priority(*metadata.level()));
        put(&mut entry, "SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
        put(&mut entry, "CODE_FILE", metadata.file().unwrap_or_default());
        put(&mut entry, "CODE_LINE", &metadata.line().unwrap_or_default().to_string());
        for (name, value) in &self.fields {
            put(&mut entry, &format!("BIP324_{}", name.to_ascii_uppercase()), value);
            // To a string: nothing can fail.
            let _ = write!(self.message, " {name}={value}");
        }
        if lost > 0 {
            put(&mut entry, "BIP324_LOST", &lost.to_string());
            let _ = write!(self.message, " (the journal did not take {lost} entries before this)");
        }
        put(&mut entry, "MESSAGE", &self.message);
        entry
    }
}

/// In the form that takes any value, whatever newlines it has.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend(name.as_bytes());
    entry.push(b'\n');
    entry.extend((value.len() as u64).to_le_bytes());
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

/// As syslog(3) has them. Information is none of its notices, which some would be alarmed by.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

const SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// More entries than a queue takes (`net.unix.max_dgram_qlen`).
    const MANY: u64 = 20_000;

    #[test]
    fn a_journal_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
        let path = std::env::temp_dir().join(format!("bip324-journal-{}", std::process::id()));
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal::at(path.clone()).unwrap());
        let (say, said) = mpsc::channel();
        let (empty, emptied) = mpsc::channel();
        thread::spawn(move || {
            tracing::subscriber::with_default(subscriber, || {
                (0..MANY).for_each(|entry| info!(entry, "one of many"));
                say.send(()).unwrap();
                emptied.recv().unwrap();
                info!("read again");
                info!("and again");
                say.send(()).unwrap();
            });
        });
        let patience = Duration::from_secs(20);
        said.recv_timeout(patience).expect("who logs waits for the journal");
        let mut buffer = [0; 4096];
        let mut next = || receiver.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec());
        assert_eq!(next().unwrap(), b"", "the first asks whether anybody is there");
        let mut taken = 0;
        while next().is_some() {
            taken += 1;
        }
        assert!(taken > 0 && taken < MANY, "{taken}");
        empty.send(()).unwrap();
        said.recv_timeout(patience).unwrap();
        let [first, second] =
            [(); 2].map(|()| String::from_utf8_lossy(&next().unwrap()).into_owned());
        let lost =
            format!("read again (the journal did not take {} entries before this)", MANY - taken);
        assert!(first.contains(&lost) && first.contains("BIP324_LOST\n"), "{first}");
        assert!(second.contains("and again") && !second.contains("LOST"), "{second}");
        std::fs::remove_file(path).unwrap();
    }
}
