//! Why connections come to nothing.

/// Why a connection was refused or a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// All sessions are taken.
    Full,
    /// The user has as many direct sessions as one may have, or all users together as they may.
    UserFull,
    /// No memory was left for a new session, or for what an old one received.
    Memory,
    /// The kernel does not know where a redirected connection was going.
    Untracked,
    /// The destination is one that the policy never dials.
    Destination,
    /// Not redirected, and not a connection that direct mode serves.
    NotRedirected,
    /// A v1 message other than VERSION came first, or a malformed VERSION.
    NotVersion,
    /// The client speaks v2 itself and passthrough is off.
    PassthroughOff,
    /// The client left, or stayed silent, before its session was up.
    Client,
    /// No TCP connection to the peer.
    Unreachable,
    /// The peer answered the v2 handshake with nothing: it may speak v1 only.
    NotV2,
    /// As [`Reason::NotV2`], from a peer that spoke v2 within the last day.
    Downgrade,
    /// The v2 handshake failed after the peer's first byte.
    Handshake,
    /// An established session broke: a socket error or a violation of either protocol.
    Broken,
    /// An established session was closed through the control socket.
    Closed,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::Full,
        Self::UserFull,
        Self::Memory,
        Self::Untracked,
        Self::Destination,
        Self::NotRedirected,
        Self::NotVersion,
        Self::PassthroughOff,
        Self::Client,
        Self::Unreachable,
        Self::NotV2,
        Self::Downgrade,
        Self::Handshake,
        Self::Broken,
        Self::Closed,
    ];

    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::UserFull => "user_full",
            Self::Memory => "memory",
            Self::Untracked => "untracked",
            Self::Destination => "destination",
            Self::NotRedirected => "not_redirected",
            Self::NotVersion => "not_version",
            Self::PassthroughOff => "passthrough_off",
            Self::Client => "client",
            Self::Unreachable => "unreachable",
            Self::NotV2 => "not_v2",
            Self::Downgrade => "downgrade",
            Self::Handshake => "handshake",
            Self::Broken => "broken",
            Self::Closed => "closed",
        }
    }
}
