//! Why a connection was not served, and how that is counted.

use crate::destination::Refusal;
use crate::stats::Reason;
use crate::{client, relay, upstream};

/// Why a connection was not served to its regular end. No text names an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("the client speaks v2 itself, and `--passthrough off`")]
    PassthroughOff,
    #[error("not redirected, and the client does not start with a v1 VERSION")]
    DirectV2,
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    #[error(
        "possible downgrade: a peer that spoke v2 within the last day does not answer the v2 \
         handshake"
    )]
    Downgrade,
    #[error(transparent)]
    Relay(#[from] relay::Error),
}

impl Error {
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Refused(Refusal::Untracked | Refusal::Lookup(_)) => Reason::Untracked,
            Self::Refused(Refusal::DirectOff | Refusal::OtherHost) | Self::DirectV2 => {
                Reason::NotRedirected
            }
            Self::Refused(_) | Self::Upstream(upstream::Error::Loop) => Reason::Destination,
            Self::PassthroughOff => Reason::PassthroughOff,
            Self::Client(error) | Self::Upstream(upstream::Error::Client(error)) => match error {
                client::Error::Closed | client::Error::Broken(_) | client::Error::Silent => {
                    Reason::Client
                }
                client::Error::NotVersion(_)
                | client::Error::VersionTooLong(_)
                | client::Error::VersionChecksum => Reason::NotVersion,
                client::Error::Memory(_) => Reason::Memory,
            },
            Self::Upstream(upstream::Error::Dial(_) | upstream::Error::DialTimeout) => {
                Reason::Unreachable
            }
            Self::Upstream(upstream::Error::NotV2) => Reason::NotV2,
            Self::Upstream(upstream::Error::Memory(_)) | Self::Relay(relay::Error::Memory(_)) => {
                Reason::Memory
            }
            Self::Upstream(_) => Reason::Handshake,
            Self::Downgrade => Reason::Downgrade,
            Self::Relay(relay::Error::Closed) => Reason::Closed,
            Self::Relay(_) => Reason::Broken,
        }
    }
}
