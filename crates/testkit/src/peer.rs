//! Scripted and hostile peers: full control of every byte that the daemon gets to see.
//!
//! A [`Wire`] is a connection with nothing on it yet. A [`Session`] is the BIP324 end of one, made
//! of keys and ciphers alone, so that a test can send any garbage, decoy, header, length or tag at
//! any moment, and none of it goes through the code under test.

mod lab;
mod session;
mod wire;

use std::net::SocketAddr;

use anyhow::Result;
use bip324_transport::v1::Magic;
use tokio::net::TcpListener;

pub use lab::version_to;
pub use session::{Opener, Packet, Sealer, Session, long_form};
pub use wire::{End, PATIENCE, Wire, frame, within};

/// A node that listens and does what the test says.
#[derive(Debug)]
pub struct Peer {
    listener: TcpListener,
}

impl Peer {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub async fn listen() -> Result<Self> {
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await? })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The next connection, with nothing read or sent.
    ///
    /// # Errors
    ///
    /// Where nobody dials within [`PATIENCE`].
    pub async fn accept(&self) -> Result<Wire> {
        let (stream, _) = within("somebody to dial the peer", self.listener.accept()).await??;
        Wire::new(stream)
    }

    /// The next connection, once its 64-byte key has arrived. Nothing is sent.
    ///
    /// # Errors
    ///
    /// Where nobody dials, or sends too little, within [`PATIENCE`].
    pub async fn meet(&self, magic: Magic) -> Result<Session> {
        Session::meet(self.accept().await?, magic).await
    }

    /// The next connection with the whole handshake done, as an honest node without garbage.
    ///
    /// # Errors
    ///
    /// As [`Self::meet`], or where the initiator's part of the handshake is wrong.
    pub async fn session(&self, magic: Magic) -> Result<Session> {
        let mut session = self.meet(magic).await?;
        let opening = session.opening(&[]);
        session.wire.write(&opening).await?;
        session.finish().await?;
        Ok(session)
    }
}
