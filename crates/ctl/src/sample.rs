//! A daemon's facts for tests, as docs/CONTROL.md has them.

use std::net::SocketAddr;

use bip324_control::{ByKind, Flow, Handshakes, Kind, Limits, Session, Status, Traffic};

/// A session that was redirected from the first test address to the second.
pub(crate) fn session(id: u64, kind: Kind) -> Session {
    let v2 = kind == Kind::V2;
    let flow = |client_bytes, peer_bytes, messages, last: &str| Flow {
        client_bytes,
        peer_bytes,
        messages,
        dropped: 0,
        last: v2.then(|| last.to_owned()),
    };
    Session {
        id,
        kind,
        client: SocketAddr::new("203.0.113.1".parse().unwrap(), 40_000 + id as u16),
        uid: Some(0),
        redirected: true,
        destination: SocketAddr::new("203.0.113.2".parse().unwrap(), 8333),
        network: (kind != Kind::Passthrough).then(|| "main".to_owned()),
        client_agent: Some("/bcoin:1.0.2/".to_owned()),
        peer_agent: Some("/Satoshi:29.0.0/".to_owned()),
        session_id: v2.then(|| format!("{:064x}", 0x0bad_cafe_0000 + id)),
        age: 192_000,
        handshake: 52_000,
        to_peer: flow(12_000, 11_500, 100, "getheaders"),
        to_client: flow(2_000_000, 1_900_000, 2000, "headers"),
    }
}

/// A daemon with one session of each kind, and some refusals.
pub(crate) fn status() -> Status {
    let flow = |client_bytes, peer_bytes, messages| Flow {
        client_bytes,
        peer_bytes,
        messages,
        ..Flow::default()
    };
    Status {
        version: "0.1.0".to_owned(),
        pid: 4711,
        uptime: 11_520_000,
        listeners: ["127.0.0.1:1324", "[::1]:1324"].map(|text| text.parse().unwrap()).into(),
        fallback: "reject".to_owned(),
        sessions: ByKind { v2: 1, passthrough: 1, fallback: 1 },
        served: ByKind { v2: 1190, passthrough: 14, fallback: 1 },
        accepted: 1250,
        accept_failures: 0,
        canaries: 6,
        refused: [("not_v2".to_owned(), 7), ("unreachable".to_owned(), 30)].into(),
        panics: 0,
        handshakes: Handshakes {
            count: 1190,
            sum: 142_800_000,
            p50: Some(100_000),
            p99: Some(1_000_000),
            buckets: vec![(100_000, 700), (1_000_000, 1190)],
        },
        traffic: Traffic {
            v2_to_peer: flow(600_000, 580_000, 5000),
            v2_to_client: flow(11_400_000, 10_940_000, 21_000),
            spliced_to_peer: flow(1000, 1000, 0),
            spliced_to_client: flow(9000, 9000, 0),
            types_to_peer: vec![],
            types_to_client: vec![],
        },
        memory: 3_100_000,
        limits: Limits { max_sessions: 512, max_memory: 256 << 20 },
    }
}
