//! The daemon's control socket, from the client's side: one request and its answer after the other, or
//! a stream of events. For any tokio runtime.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bip324_control::{
    Answer, Detail, Event, PROTOCOL, Refusal, Request, Scope, Session, Status, Version, line, parse,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::process::group_of;

/// Why the daemon could not be asked, or would not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket is there, and nobody listens.
    #[error(
        "nothing listens on {}: bip324-proxy does not run, start it with \
         `sudo systemctl start bip324-proxy`", .0.display()
    )]
    NotRunning(PathBuf),
    /// There is no socket.
    #[error(
        "there is no {}: bip324-proxy does not run (`sudo systemctl start bip324-proxy`), or has its \
         control socket elsewhere (--socket)", .0.display()
    )]
    NoSocket(PathBuf),
    /// The socket is not for this user.
    #[error(
        "{} is not for this user: it is for root and members of group {group} \
         (`sudo usermod -aG {group} $USER`, then log in again); or run this with sudo", .path.display()
    )]
    NotPermitted {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        group: String,
    },
    /// The socket fails in another way.
    #[error("cannot talk to {}", .0.display())]
    Socket(PathBuf, #[source] io::Error),
    /// No answer in time.
    #[error(
        "bip324-proxy does not answer on {}: it does not start, or hangs, see \
         `systemctl status bip324-proxy`", .0.display()
    )]
    Silent(PathBuf),
    /// The daemon's answers would be misread.
    #[error(
        "bip324-proxy {} speaks version {} of the control protocol and this program {PROTOCOL}: \
         restart the daemon after an upgrade, or run the bip324ctl that came with it",
        .0.version, .0.protocol
    )]
    Newer(Version),
    /// Not an answer to what was asked.
    #[error("what answers is not bip324-proxy, or a newer one: {0}")]
    Garbage(String),
    /// The daemon has closed the connection.
    #[error("bip324-proxy has closed the connection: it was stopped or restarted")]
    Ended,
    /// The daemon would not.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    version: Version,
    lines: Lines,
}

/// What holds as a subscription begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Whose sessions are told.
    pub scope: Scope,
    /// The status.
    pub status: Status,
    /// Oldest first.
    pub sessions: Vec<Session>,
}

/// The events of a subscription.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    patience: Duration,
    lines: Lines,
}

impl Client {
    /// Connects, and makes sure that daemon and client understand each other.
    ///
    /// # Errors
    /// Why there is nobody to ask.
    pub async fn connect(path: &Path) -> Result<Self, Error> {
        let stream = timeout(PATIENCE, UnixStream::connect(path)).await;
        let stream = stream.map_err(|_| Error::Silent(path.to_owned()))?;
        let stream = stream.map_err(|error| Error::of_connect(path, error))?;
        let nobody = Version { version: String::new(), protocol: 0 };
        let lines = Lines { stream: BufReader::new(stream), line: Vec::new() };
        let mut client = Self { path: path.to_owned(), version: nobody, lines };
        client.version = match client.ask(&Request::Version {}).await? {
            Answer::Version(version) => version,
            other => return Err(unexpected(&other)),
        };
        if client.version.protocol == PROTOCOL {
            Ok(client)
        } else {
            Err(Error::Newer(client.version))
        }
    }

    /// Who answers.
    #[must_use]
    pub const fn version(&self) -> &Version {
        &self.version
    }

    /// One request, one answer.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        let asked = async {
            self.lines.send(request).await?;
            self.lines.next::<Answer>().await
        };
        let answer =
            timeout(PATIENCE, asked).await.map_err(|_| Error::Silent(self.path.clone()))?;
        match answer.map_err(|error| error.at(&self.path))? {
            Answer::Error(refusal) => Err(Error::Refused(refusal)),
            answer => Ok(answer),
        }
    }

    /// The status.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn status(&mut self) -> Result<Status, Error> {
        match self.ask(&Request::Status {}).await? {
            Answer::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// The sessions that the caller may see, oldest first, and whose they are.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn sessions(&mut self) -> Result<(Scope, Vec<Session>), Error> {
        match self.ask(&Request::Sessions {}).await? {
            Answer::Sessions { scope, sessions } => Ok((scope, sessions)),
            other => Err(unexpected(&other)),
        }
    }

    /// One session.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn session(&mut self, id: u64) -> Result<Detail, Error> {
        match self.ask(&Request::Session { id }).await? {
            Answer::Session(detail) => Ok(*detail),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn close(&mut self, id: u64) -> Result<(), Error> {
        match self.ask(&Request::Close { id }).await? {
            Answer::Closed { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The log level; with one, after it was set.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn log(&mut self, level: Option<String>) -> Result<String, Error> {
        match self.ask(&Request::Log { level }).await? {
            Answer::Log { level } => Ok(level),
            other => Err(unexpected(&other)),
        }
    }

    /// Subscribes to events, with the traffic each so many milliseconds.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn subscribe(mut self, interval: u64) -> Result<(Subscription, Events), Error> {
        match self.ask(&Request::Subscribe { interval: Some(interval) }).await? {
            Answer::Subscribed { scope, status, sessions } => {
                let patience = LULL + Duration::from_millis(interval);
                let events = Events { path: self.path, patience, lines: self.lines };
                Ok((Subscription { scope, status: *status, sessions }, events))
            }
            other => Err(unexpected(&other)),
        }
    }
}

impl Events {
    /// The next event. May be cancelled and called again.
    ///
    /// # Errors
    /// The daemon is gone, or says nothing for far longer than the interval.
    pub async fn next(&mut self) -> Result<Event, Error> {
        let event = timeout(self.patience, self.lines.next()).await;
        let event = event.map_err(|_| Error::Silent(self.path.clone()))?;
        event.map_err(|error| error.at(&self.path))
    }
}

/// A stream of lines; keeps what there is of the next one.
#[derive(Debug)]
struct Lines {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Lines {
    async fn send(&mut self, request: &Request) -> Result<(), Broken> {
        let line = line(request).map_err(|error| Broken::Garbage(error.to_string()))?;
        match self.stream.write_all(&line).await {
            // What the daemon said before it closed is told by the read that follows.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => Ok(sent?),
        }
    }

    async fn next<T: DeserializeOwned>(&mut self) -> Result<T, Broken> {
        let left = MAX_ANSWER.saturating_sub(self.line.len() as u64);
        (&mut self.stream).take(left).read_until(b'\n', &mut self.line).await?;
        if self.line.is_empty() {
            return Err(Broken::Ended);
        }
        let line = std::mem::take(&mut self.line);
        if line.last() != Some(&b'\n') {
            let ended = (line.len() as u64) < MAX_ANSWER;
            let too_long = || Broken::Garbage("a line without an end".to_owned());
            return Err(if ended { Broken::Ended } else { too_long() });
        }
        parse(&line).map_err(|error| Broken::Garbage(error.to_string()))
    }
}

/// Why there is no next line.
enum Broken {
    Ended,
    Garbage(String),
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Ended,
            _ => Self::Io(error),
        }
    }
}

impl Broken {
    fn at(self, path: &Path) -> Error {
        match self {
            Self::Ended => Error::Ended,
            Self::Garbage(what) => Error::Garbage(what),
            Self::Io(error) => Error::Socket(path.to_owned(), error),
        }
    }
}

impl Error {
    fn of_connect(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoSocket(path),
            io::ErrorKind::ConnectionRefused => Self::NotRunning(path),
            io::ErrorKind::PermissionDenied => {
                let group = group_of(&path).unwrap_or_else(|| "bip324".to_owned());
                Self::NotPermitted { path, group }
            }
            _ => Self::Socket(path, error),
        }
    }
}

fn unexpected(answer: &Answer) -> Error {
    let text = line(answer).unwrap_or_default();
    let start: String = String::from_utf8_lossy(&text).chars().take(60).collect();
    Error::Garbage(format!("it answered {}", start.trim_end()))
}

/// For a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For the next event, beyond the interval: a daemon may be busy for a while.
const LULL: Duration = Duration::from_secs(20);

/// Bytes of a line at most: far more than the most sessions there can be.
const MAX_ANSWER: u64 = 64 << 20;
