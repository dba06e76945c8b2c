//! What v2 saves: the same messages, counted on both sides.

use std::fmt;

use bip324_control::{Flow, Traffic};
use serde::Serialize;

use crate::units;

/// The bytes of translated messages on the two sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Saved {
    /// In v1, on the client's side.
    pub v1: u64,
    /// In v2, on the peer's side, handshakes included.
    pub v2: u64,
    /// v1 less v2: below 0 where handshakes took more than messages saved.
    pub bytes: i64,
    /// The same as a part of v1; none where there was nothing.
    pub percent: Option<f64>,
}

impl Saved {
    /// Of all translated sessions since the start.
    #[must_use]
    pub const fn of(traffic: &Traffic) -> Self {
        Self::of_flows(&traffic.v2_to_peer, &traffic.v2_to_client)
    }

    /// Of both directions of a translated session.
    #[must_use]
    pub const fn of_flows(one: &Flow, other: &Flow) -> Self {
        let v1 = one.client_bytes.saturating_add(other.client_bytes);
        let v2 = one.peer_bytes.saturating_add(other.peer_bytes);
        let bytes = v1.wrapping_sub(v2) as i64;
        let percent = if v1 == 0 { None } else { Some(bytes as f64 * 100.0 / v1 as f64) };
        Self { v1, v2, bytes, percent }
    }
}

/// `v2 saved 1.2 MB (4.1 %)`.
impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did = if self.bytes < 0 { "cost" } else { "saved" };
        write!(f, "v2 {did} {}", units::bytes(self.bytes.unsigned_abs()))?;
        match self.percent {
            Some(percent) => write!(f, " ({:.1} %)", percent.abs()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(v1: u64, v2: u64) -> Saved {
        let flow = Flow { client_bytes: v1, peer_bytes: v2, ..Flow::default() };
        Saved::of_flows(&flow, &Flow::default())
    }

    #[test]
    fn the_difference_has_a_sign_and_a_part() {
        assert_eq!(saved(2000, 1900).to_string(), "v2 saved 100 B (5.0 %)");
        assert_eq!(saved(100, 2150).to_string(), "v2 cost 2.0 kB (2050.0 %)");
        assert_eq!(saved(0, 0).to_string(), "v2 saved 0 B");
        assert_eq!(saved(100, 2150).bytes, -2050);
    }
}
