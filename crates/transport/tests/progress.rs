//! What `Progress` promises to the loop that reads and writes.

use bip324_transport::limits::BATCH;
use bip324_transport::v2::Role;

use crate::peer::{established, message, receiver, sender, short};

#[test]
fn a_sender_wants_the_header_and_then_the_message() {
    let (mut outbox, _) = sender();
    let message = message("tx", &[0; 234]);
    for length in 0..message.len() {
        let progress = outbox.sender.translate(&message[..length], &mut Vec::new()).unwrap();
        assert_eq!(progress.consumed, 0);
        assert_eq!(progress.wants, if length < 24 { 24 } else { 258 }, "at {length} bytes");
    }
    let progress = outbox.sender.translate(&message, &mut Vec::new()).unwrap();
    assert_eq!((progress.consumed, progress.wants), (258, 24));
}

#[test]
fn a_receiver_wants_one_byte_more_of_the_garbage() {
    let (mut inbox, mut peer) = receiver(Role::Initiator);
    let hello = peer.hello(&[0; 50]);
    for length in 0..50 + 16 {
        let mut input = hello[..length].to_vec();
        let progress = inbox.receiver.translate(&mut input, &mut Vec::new()).unwrap();
        assert_eq!((progress.consumed, progress.wants), (0, length + 1));
    }
    let mut input = hello[..50 + 16].to_vec();
    let progress = inbox.receiver.translate(&mut input, &mut Vec::new()).unwrap();
    assert_eq!((progress.consumed, progress.wants), (66, 3), "then its first packet's length");
}

#[test]
fn a_receiver_wants_the_length_and_then_the_packet() {
    let (mut inbox, mut peer) = established();
    let packet = peer.genuine(&short(21, &[0; 234]));
    for length in 0..packet.len() {
        let mut input = packet[..length].to_vec();
        let progress = inbox.receiver.translate(&mut input, &mut Vec::new()).unwrap();
        assert_eq!(progress.consumed, 0);
        assert_eq!(progress.wants, if length < 3 { 3 } else { packet.len() }, "at {length} bytes");
        assert_eq!(input, packet[..length], "what is not consumed stays as it came");
    }
    let mut input = packet.clone();
    let progress = inbox.receiver.translate(&mut input, &mut Vec::new()).unwrap();
    assert_eq!((progress.consumed, progress.wants), (packet.len(), 3));
}

#[test]
fn output_holds_at_most_a_batch_and_one_message() {
    const PAYLOAD: usize = 100_000;
    let message = message("block", &[0x5A; PAYLOAD]);
    let stream = message.repeat(20);
    let (mut outbox, _) = sender();
    let mut input = stream.as_slice();
    while !input.is_empty() {
        let mut out = Vec::new();
        let progress = outbox.sender.translate(input, &mut out).unwrap();
        assert!(out.len() < BATCH + PAYLOAD + 21, "{} bytes", out.len());
        input = &input[progress.consumed..];
        assert_eq!(progress.wants, if input.is_empty() { 24 } else { message.len() });
    }

    let (mut inbox, mut peer) = established();
    let contents = short(2, &[0x5A; PAYLOAD]);
    let mut packets: Vec<u8> = (0..20).flat_map(|_| peer.genuine(&contents)).collect();
    let mut input = packets.as_mut_slice();
    let mut delivered = Vec::new();
    while !input.is_empty() {
        let mut out = Vec::new();
        let progress = inbox.receiver.translate(input, &mut out).unwrap();
        assert!(out.len() < BATCH + message.len(), "{} bytes", out.len());
        delivered.extend(out);
        input = &mut input[progress.consumed..];
        assert_eq!(progress.wants, if input.is_empty() { 3 } else { contents.len() + 20 });
    }
    assert!(delivered == stream);
}

#[test]
fn a_full_output_takes_no_message_more() {
    let (mut outbox, _) = sender();
    let message = message("ping", b"8 bytes.");
    let mut full = vec![0; BATCH];
    let progress = outbox.sender.translate(&message, &mut full).unwrap();
    assert_eq!((progress.consumed, progress.wants, full.len()), (0, 32, BATCH));

    let (mut inbox, mut peer) = established();
    let mut packet = peer.genuine(&short(18, b"8 bytes."));
    let progress = inbox.receiver.translate(&mut packet, &mut full).unwrap();
    assert_eq!((progress.consumed, progress.wants, full.len()), (0, 29, BATCH));
    inbox.feed(&packet).unwrap();
    assert_eq!(inbox.delivered, message, "it comes with the next call");
}
