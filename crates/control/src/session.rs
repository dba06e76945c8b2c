use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How a session reaches its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// v1 client, translated to BIP324 towards the peer.
    V2,
    /// The client speaks v2 itself; its bytes pass as they are.
    Passthrough,
    /// v1 client and v1 peer, in plaintext, because `fallback = "v1"` allows it.
    Fallback,
}

/// An established session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Unique since the daemon's start, from 1.
    pub id: u64,
    /// How it reaches its peer.
    pub kind: Kind,
    /// The client's end of its connection: tells the process, to those who may look.
    pub client: SocketAddr,
    /// The user that the client's socket belongs to, where the kernel told.
    pub uid: Option<u32>,
    /// Whether the connection was redirected; otherwise it was made to the daemon itself.
    pub redirected: bool,
    /// The peer.
    pub destination: SocketAddr,
    /// `main`, `testnet3`, `testnet4`, `signet`, `regtest`, or the magic as 8 hex digits; none for
    /// [`Kind::Passthrough`].
    pub network: Option<String>,
    /// The client's user agent, printable ASCII.
    pub client_agent: Option<String>,
    /// The peer's user agent, printable ASCII, once its VERSION passed.
    pub peer_agent: Option<String>,
    /// The BIP324 session id, 64 hex digits in Bitcoin Core's order (`getpeerinfo`); only for
    /// [`Kind::V2`], as nobody else than the two ends knows it otherwise.
    pub session_id: Option<String>,
    /// Milliseconds since it was established.
    pub age: u64,
    /// Microseconds from the client's connection being accepted to the session being established.
    pub handshake: u64,
    /// From the client to the peer.
    pub to_peer: Flow,
    /// From the peer to the client.
    pub to_client: Flow,
}

/// One direction of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Bytes on the client's side: v1, or what passes as it is.
    pub client_bytes: u64,
    /// Bytes on the peer's side: v2, or what passes as it is. Keys, garbage and version packet count.
    pub peer_bytes: u64,
    /// Messages carried; none are counted in what passes as it is.
    pub messages: u64,
    /// Messages that the other side's transport would not take, and that were left out.
    pub dropped: u64,
    /// The last message's type.
    pub last: Option<String>,
}

/// A session and its messages by type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The session.
    pub session: Session,
    /// From the client to the peer, the most bytes first.
    pub to_peer: Vec<TypeCount>,
    /// From the peer to the client, the most bytes first.
    pub to_client: Vec<TypeCount>,
}

/// Messages of one type, in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCount {
    /// The message type, such as `headers`; `other` for all that BIP324 has no short id for.
    #[serde(rename = "type")]
    pub name: String,
    /// How many.
    pub messages: u64,
    /// Their bytes in v1, headers included.
    pub client_bytes: u64,
    /// Their bytes in v2, as packets.
    pub peer_bytes: u64,
}
