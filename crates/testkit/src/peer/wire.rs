//! A TCP connection under the test's control, and v1 messages on it.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bip324_transport::command::Command;
use bip324_transport::v1::{HEADER_LEN, Header, Magic, checksum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One end of a TCP connection. Every call gives up after [`PATIENCE`].
#[derive(Debug)]
pub struct Wire {
    /// The socket itself, for whatever the methods do not offer.
    pub stream: TcpStream,
}

/// How the other side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a FIN.
    Fin,
    /// With a RST.
    Reset,
}

impl Wire {
    /// Takes `stream`, and has it send each write at once.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// Where the connection has ended, or takes no more for [`PATIENCE`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        within("room to write", self.stream.write_all(bytes)).await?.context("writing")
    }

    /// Reads exactly `length` bytes.
    ///
    /// # Errors
    ///
    /// Where fewer arrive.
    pub async fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        within("bytes to arrive", self.stream.read_exact(&mut bytes)).await?.context("reading")?;
        Ok(bytes)
    }

    /// What one read(2) of up to 64 KiB returns once there is something: one segment, if the
    /// sender writes nothing else for a while.
    ///
    /// # Errors
    ///
    /// Where nothing arrives, or the end.
    pub async fn read_once(&mut self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; 65536];
        let count = within("bytes to arrive", self.stream.read(&mut bytes)).await??;
        ensure!(count > 0, "the connection ended");
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Everything up to the end of the connection, and how it ended.
    ///
    /// # Errors
    ///
    /// Where the connection does not end within [`PATIENCE`].
    pub async fn rest(&mut self) -> Result<(Vec<u8>, End)> {
        self.rest_within(PATIENCE).await
    }

    /// As [`Self::rest`], but with another limit.
    ///
    /// # Errors
    ///
    /// Where the connection does not end within `limit`.
    pub async fn rest_within(&mut self, limit: Duration) -> Result<(Vec<u8>, End)> {
        let mut bytes = Vec::new();
        let read = timeout(limit, self.stream.read_to_end(&mut bytes)).await;
        match read.with_context(|| format!("waited {limit:?} in vain for the connection to end"))? {
            Ok(_) => Ok((bytes, End::Fin)),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok((bytes, End::Reset)),
            Err(error) => Err(error).context("reading to the end"),
        }
    }

    /// Sends a FIN; reading goes on.
    ///
    /// # Errors
    ///
    /// Where the connection has been reset.
    pub async fn finish(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Sends a RST.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn reset(self) -> Result<()> {
        Ok(self.stream.set_zero_linger()?)
    }

    /// Reads one v1 message: its type and its payload.
    ///
    /// # Errors
    ///
    /// Where it is not well formed, or none arrives.
    pub async fn message(&mut self, magic: Magic) -> Result<(Command, Vec<u8>)> {
        let header = self.read(HEADER_LEN).await?;
        let header = Header::parse(header.first_chunk().context("a header")?);
        let payload = self.read(header.check(magic)?).await?;
        if checksum(&payload) != header.checksum {
            bail!("wrong checksum of {:?}", header.command);
        }
        Ok((header.command, payload))
    }
}

/// A v1 message.
///
/// # Errors
///
/// Where `name` is no message type.
pub fn frame(magic: Magic, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let command = Command::new(name).with_context(|| format!("{name} is no message type"))?;
    Ok([&Header::for_payload(magic, command, payload).encode(), payload].concat())
}

/// Waits for `future`, at most for [`PATIENCE`]. `what` completes "waited in vain for ...".
///
/// # Errors
///
/// Where it takes longer.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let in_vain = || format!("waited {PATIENCE:?} in vain for {what}");
    timeout(PATIENCE, future).await.with_context(in_vain)
}

/// Longest wait for anything that should happen at once. Shorter than the daemon's deadlines for
/// a client's first bytes and for a handshake, so that those cannot be taken for a quick end.
pub const PATIENCE: Duration = Duration::from_secs(8);
