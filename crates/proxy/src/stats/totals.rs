//! What all sessions together carried, those that have ended included.

use std::sync::atomic::Ordering::Relaxed;

use bip324_control::{ByKind, Flow as Sum, Kind, Traffic};

use super::lock;
use super::session::{Flow, Live};
use super::types::Types;

/// Sums by kind and direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    v2: [Total; 2],
    /// Passed through and in plaintext.
    spliced: [Total; 2],
}

/// Of one direction.
#[derive(Clone, Debug, Default)]
struct Total {
    received: u64,
    sent: u64,
    dropped: u64,
    types: Types,
}

impl Totals {
    pub(super) fn add(&mut self, live: &Live) {
        let [to_peer, to_client] = match live.beginning.kind {
            Kind::V2 => &mut self.v2,
            Kind::Passthrough | Kind::Fallback => &mut self.spliced,
        };
        to_peer.add(&live.to_peer);
        to_client.add(&live.to_client);
    }

    pub(super) fn report(&self) -> Traffic {
        let [v2_to_peer, v2_to_client] = &self.v2;
        let [spliced_to_peer, spliced_to_client] = &self.spliced;
        Traffic {
            v2_to_peer: v2_to_peer.report(true),
            v2_to_client: v2_to_client.report(false),
            spliced_to_peer: spliced_to_peer.report(true),
            spliced_to_client: spliced_to_client.report(false),
            types_to_peer: v2_to_peer.types.report(),
            types_to_client: v2_to_client.types.report(),
        }
    }
}

impl Total {
    fn add(&mut self, flow: &Flow) {
        self.received += flow.received.load(Relaxed);
        self.sent += flow.sent.load(Relaxed);
        self.dropped += flow.dropped.load(Relaxed);
        self.types.merge(&lock(&flow.types));
    }

    fn report(&self, to_peer: bool) -> Sum {
        let (client_bytes, peer_bytes) =
            if to_peer { (self.received, self.sent) } else { (self.sent, self.received) };
        let (messages, dropped) = (self.types.messages(), self.dropped);
        Sum { client_bytes, peer_bytes, messages, dropped, last: None }
    }
}

/// The number of sessions of this kind.
pub(super) const fn of_kind(by_kind: &mut ByKind, kind: Kind) -> &mut u64 {
    match kind {
        Kind::V2 => &mut by_kind.v2,
        Kind::Passthrough => &mut by_kind.passthrough,
        Kind::Fallback => &mut by_kind.fallback,
    }
}
