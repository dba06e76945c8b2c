//! Peers that were seen speaking v2: for a day they are not spoken to in v1, whoever asks for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bounded memory of peers; beyond [`CAPACITY`] the one seen longest ago is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<HashMap<SocketAddr, Instant>>);

impl Pins {
    /// Remembers that `peer` spoke v2 at `now`.
    pub(crate) fn add(&self, peer: SocketAddr, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= CAPACITY && !seen.contains_key(&peer) {
            let oldest = seen.iter().min_by_key(|&(_, &at)| at).map(|(&peer, _)| peer);
            oldest.map(|peer| seen.remove(&peer));
        }
        seen.insert(peer, now);
    }

    /// Whether `peer` spoke v2 within the day before `now`.
    pub(crate) fn holds(&self, peer: SocketAddr, now: Instant) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&peer).is_some_and(|&at| now.saturating_duration_since(at) < LIFETIME)
    }
}

/// About 0.3 MB.
const CAPACITY: usize = 4096;
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 2], port))
    }

    #[test]
    fn a_peer_is_held_for_a_day() {
        let pins = Pins::default();
        let now = Instant::now();
        pins.add(peer(8333), now);
        assert!(pins.holds(peer(8333), now));
        assert!(pins.holds(peer(8333), now + LIFETIME - Duration::from_secs(1)));
        assert!(!pins.holds(peer(8333), now + LIFETIME));
        assert!(!pins.holds(peer(8334), now));
    }

    #[test]
    fn the_oldest_gives_way() {
        let pins = Pins::default();
        let start = Instant::now();
        let at = |n: u16| start + Duration::from_millis(n.into());
        for n in 0..=4096 {
            pins.add(peer(n), at(n));
        }
        assert!(!pins.holds(peer(0), at(4096)));
        assert!(pins.holds(peer(1), at(4096)));
        assert!(pins.holds(peer(4096), at(4096)));
        assert_eq!(pins.0.lock().unwrap().len(), CAPACITY);
    }
}
