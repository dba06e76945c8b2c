//! The v1 parser: what a client sends, raw or with its magics and checksums made right.

use arbitrary::Arbitrary;
use bip324_transport::limits::MAX_PAYLOAD;
use bip324_transport::v1::{Error, HEADER_LEN, Header, checksum};

use crate::peer::{MAGIC, established, is_v1_type, meaning};
use crate::script;
use crate::stream::Direction;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    reads: [u8; 4],
    /// Bit `i` leaves the `i`th message's magic as it came, bit `i + 8` its checksum.
    keep: u16,
    stream: &'a [u8],
}

/// Every message that a v1 receiver accepts is sealed, in order and unchanged; every other is
/// counted; the first that ends the connection does, with all before it sent.
pub fn run(data: &[u8]) {
    let Some(Input { reads, keep, stream }) = script(data) else { return };
    let mut stream = stream.to_vec();
    repair(keep, &mut stream);
    let expected = Expected::of(&stream);

    let (session, mut peer) = established();
    let mut direction = Direction::new(session.sender);
    let result = direction.feed_in(&reads, &stream);
    assert_eq!(result, expected.end);

    let packets = peer.open(b"", &direction.output);
    let sent: Vec<_> =
        packets.iter().map(|(header, contents)| (*header, meaning(contents))).collect();
    let messages: Vec<_> = expected.messages.iter().map(|&message| (0, Some(message))).collect();
    assert_eq!(sent, messages);
    let counts = direction.half.counts();
    let counted = (counts.messages, counts.dropped_type, counts.dropped_checksum);
    assert_eq!(counted, (expected.messages.len() as u64, expected.types, expected.checksums));
    if result.is_ok() {
        assert_eq!(direction.unread().len(), expected.rest);
    }
}

/// What the stream holds.
struct Expected<'a> {
    messages: Vec<(bip324_transport::command::Command, &'a [u8])>,
    types: u64,
    checksums: u64,
    /// Bytes of an incomplete message at the end.
    rest: usize,
    end: Result<(), Error>,
}

impl<'a> Expected<'a> {
    fn of(mut stream: &'a [u8]) -> Self {
        let mut expected =
            Self { messages: Vec::new(), types: 0, checksums: 0, rest: 0, end: Ok(()) };
        while let Some((header, rest)) = stream.split_first_chunk::<HEADER_LEN>() {
            let fields = Header::parse(header);
            assert_eq!(fields.encode(), *header, "a header survives both ways");
            if let Err(error) = fields.check(MAGIC) {
                assert!(header[..4] != MAGIC.to_bytes() || fields.length as usize > MAX_PAYLOAD);
                expected.end = Err(error);
                return expected;
            }
            let Some((payload, next)) = rest.split_at_checked(fields.length as usize) else {
                break;
            };
            if !is_v1_type(fields.command) {
                expected.types += 1;
            } else if checksum(payload) != fields.checksum {
                expected.checksums += 1;
            } else {
                expected.messages.push((fields.command, payload));
            }
            stream = next;
        }
        expected.rest = stream.len();
        expected
    }
}

/// Makes magics and checksums right that no mutation would ever hit.
fn repair(keep: u16, mut stream: &mut [u8]) {
    for message in 0.. {
        let Some((header, rest)) = stream.split_first_chunk_mut::<HEADER_LEN>() else { return };
        let keeps = |bit: u32| keep.checked_shr(bit).unwrap_or(0) & 1 == 1;
        if !keeps(message) {
            header[..4].copy_from_slice(&MAGIC.to_bytes());
        }
        let length = Header::parse(header).length as usize;
        let Some((payload, next)) = rest.split_at_mut_checked(length) else { return };
        if !keeps(message + 8) {
            header[20..].copy_from_slice(&checksum(payload));
        }
        stream = next;
    }
}
