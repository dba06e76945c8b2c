//! The client's side of a session until the relay takes over: the socket, and what it has sent.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;

use bip324_transport::v1::{self, HEADER_LEN, Header};
use thiserror::Error;
use tokio::net::TcpStream;

use crate::memory::{Buffer, Exhausted, Memory};
use crate::sniff::{self, NotVersion, Start};
use crate::socket::{self, ReadError};

/// A client that has not been connected to its peer yet.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Every byte received so far, from the first on; at most about [`MAX_OPENING`].
    pub(crate) received: Buffer,
    /// How many bytes those were, of which some may be used and dropped by now.
    pub(crate) read: u64,
}

/// Why a client is not served.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("the client closed the connection before its session was up")]
    Closed,
    #[error("the connection to the client broke before its session was up: {0}")]
    Broken(#[source] io::Error),
    #[error("the client did not send its first message in time")]
    Silent,
    #[error(transparent)]
    NotVersion(#[from] NotVersion),
    #[error("the client's VERSION announces {0} bytes of payload, which is too many")]
    VersionTooLong(u32),
    #[error("the checksum of the client's VERSION is wrong")]
    VersionChecksum,
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

impl Client {
    pub(crate) fn new(stream: TcpStream, memory: &Arc<Memory>) -> Self {
        Self { stream, received: Buffer::new(memory), read: 0 }
    }

    /// Reads until the first 16 bytes say how the client starts. Cancel-safe.
    pub(crate) async fn start(&mut self) -> Result<Start, Error> {
        loop {
            if let Some(start) = sniff::decide(&self.received)? {
                return Ok(start);
            }
            self.read().await?;
        }
    }

    /// Reads until the VERSION message is complete; it is the first thing in `received`, as long as
    /// the value returned. Cancel-safe.
    pub(crate) async fn version(&mut self) -> Result<usize, Error> {
        loop {
            if let Some(length) = version_length(&self.received)? {
                return Ok(length);
            }
            self.read().await?;
        }
    }

    /// Does `work` unless the client leaves. What it sends meanwhile is kept. As cancel-safe as
    /// `work`.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            gone = self.watch() => Err(gone),
        }
    }

    /// Reads until the client is gone. Once as much has arrived as may wait, it only waits: the
    /// rest stays in the kernel, and the caller has a deadline.
    async fn watch(&mut self) -> Error {
        while self.received.len() < MAX_OPENING {
            if let Err(gone) = self.read().await {
                return gone;
            }
        }
        pending().await
    }

    async fn read(&mut self) -> Result<(), Error> {
        match socket::read_some(&self.stream, &mut self.received, READ).await {
            Ok(0) => Err(Error::Closed),
            Ok(read) => {
                self.read += read as u64;
                Ok(())
            }
            Err(ReadError::Socket(error)) => Err(Error::Broken(error)),
            Err(ReadError::Memory(exhausted)) => Err(exhausted.into()),
        }
    }
}

/// Length of the VERSION message that `received` starts with, once it is complete.
pub(crate) fn version_length(received: &[u8]) -> Result<Option<usize>, Error> {
    let Some((header, rest)) = received.split_first_chunk() else {
        return Ok(None);
    };
    let header = Header::parse(header);
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    if length > MAX_OPENING - HEADER_LEN {
        return Err(Error::VersionTooLong(header.length));
    }
    match rest.get(..length) {
        None => Ok(None),
        Some(payload) if v1::checksum(payload) != header.checksum => Err(Error::VersionChecksum),
        Some(_) => Ok(Some(HEADER_LEN + length)),
    }
}

/// What a client may send before it is connected. A VERSION has some 100 bytes, and 350 with the
/// longest user agent.
const MAX_OPENING: usize = 64 * 1024;

/// Room for one read: the VERSION, and the few small messages that may come with it.
const READ: usize = 1024;

#[cfg(test)]
mod tests {
    use bip324_transport::command::Command;
    use bip324_transport::v1::Magic;

    use super::*;

    fn version(payload: &[u8]) -> Vec<u8> {
        let header = Header::for_payload(Magic::REGTEST, Command::VERSION, payload);
        [&header.encode()[..], payload].concat()
    }

    #[test]
    fn a_version_is_complete_with_its_last_byte() {
        let mut message = version(&[7; 86]);
        for length in 0..message.len() {
            assert!(matches!(version_length(&message[..length]), Ok(None)), "{length}");
        }
        assert!(matches!(version_length(&message), Ok(Some(110))));
        message.push(0);
        assert!(matches!(version_length(&message), Ok(Some(110))));
    }

    #[test]
    fn a_version_is_refused_by_its_header_when_too_long() {
        let mut message = version(&[]);
        for length in [u32::MAX, 4_000_000, 65_513] {
            message[16..20].copy_from_slice(&length.to_le_bytes());
            let refused = version_length(&message);
            assert!(matches!(refused, Err(Error::VersionTooLong(l)) if l == length), "{length}");
        }
        message[16..20].copy_from_slice(&65_512u32.to_le_bytes());
        assert!(matches!(version_length(&message), Ok(None)));
    }

    #[test]
    fn a_damaged_version_is_refused() {
        let mut message = version(&[7; 86]);
        message[50] ^= 1;
        assert!(matches!(version_length(&message), Err(Error::VersionChecksum)));
    }
}
