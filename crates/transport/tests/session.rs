//! Two ends of our own, talking to each other.

use bip324_transport::command::Command;
use bip324_transport::v1::{Header, Magic};
use bip324_transport::v2::{KeyExchange, Role, Session};

fn message(name: &str, payload: &[u8]) -> Vec<u8> {
    let header = Header::for_payload(Magic::REGTEST, Command::new(name).unwrap(), payload);
    [&header.encode(), payload].concat()
}

/// Both sides with each other's keys, and what each has sent since its key.
fn handshake() -> ((Session, Vec<u8>), (Session, Vec<u8>)) {
    let initiator = KeyExchange::new(Role::Initiator, Magic::REGTEST).unwrap();
    let responder = KeyExchange::new(Role::Responder, Magic::REGTEST).unwrap();
    let (first, answer) = (initiator.first_flight(), responder.first_flight());
    let mut from_initiator = first[64..].to_vec();
    let mut from_responder = answer[64..].to_vec();
    let initiator = initiator.complete(answer.first_chunk().unwrap(), &mut from_initiator);
    let responder = responder.complete(first.first_chunk().unwrap(), &mut from_responder);
    ((initiator, from_initiator), (responder, from_responder))
}

#[test]
fn messages_arrive_unchanged_in_both_directions() {
    let ((mut a, mut from_a), (mut b, mut from_b)) = handshake();
    assert_eq!(a.id, b.id);
    let version = message("version", b"any payload");
    let stream =
        [version.clone(), message("inv", &[7; 61]), message("block", &[9; 300_000])].concat();
    for (from, flight, to) in [(&mut a, &mut from_a, &mut b)] {
        from.sender.translate(&stream, flight).unwrap();
        let mut arrived = Vec::new();
        let progress = to.receiver.translate(flight, &mut arrived).unwrap();
        assert_eq!(progress.consumed, flight.len());
        assert!(to.receiver.is_established());
        assert_eq!(arrived, stream);
    }
    b.sender.translate(&version, &mut from_b).unwrap();
    let mut arrived = Vec::new();
    a.receiver.translate(&mut from_b, &mut arrived).unwrap();
    assert_eq!(arrived, version);
}
