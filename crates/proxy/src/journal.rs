//! systemd's journal, by its native protocol: one datagram an entry, a line for people in `MESSAGE` and
//! each value in a field of its own.
//!
//! tracing-journald does the same but for the line, which then lacks every value: `journalctl` would show
//! no session id. It also hands long entries over in memory files, which the sandbox forbids; ours are
//! short.

use std::fmt::{Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Writes every event there.
#[derive(Debug)]
pub(crate) struct Journal(UnixDatagram);

impl Journal {
    /// # Errors
    /// Nobody takes entries.
    pub(crate) fn open() -> io::Result<Self> {
        let journal = Self(UnixDatagram::unbound()?);
        // As sd_journal_sendv(3) does not: the journal ignores what is empty.
        journal.send(&[])?;
        Ok(journal)
    }

    /// By its name each time, so that a journal that was started again is found.
    fn send(&self, entry: &[u8]) -> io::Result<usize> {
        self.0.send_to(entry, SOCKET)
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        // A log that cannot be written must not end a session.
        let _ = self.send(&values.entry(event));
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

    fn entry(mut self, event: &Event<'_>) -> Vec<u8> {
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
