//! The user agent in the VERSION that opens a direction. Nothing else of any payload is ever read.

use bip324_transport::command::Command;
use bip324_transport::limits::MAX_USER_AGENT;
use bip324_transport::v1::{HEADER_LEN, Header};
use bip324_transport::version::{self, USER_AGENT};

/// Looks at the first message of a direction as it passes, and keeps no more of it than it takes to
/// find the user agent.
#[derive(Debug, Default)]
pub(crate) struct Watch(Vec<u8>);

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// More has to pass.
    Part,
    /// It is over, with a user agent or without.
    All(Option<Box<str>>),
}

impl Watch {
    /// Looks at what passes next, v1 messages in any pieces.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Seen {
        let Self(seen) = self;
        seen.extend_from_slice(bytes.get(..ENOUGH - seen.len()).unwrap_or(bytes));
        let Some((header, payload)) = seen.split_first_chunk::<HEADER_LEN>() else {
            return Seen::Part;
        };
        let header = Header::parse(header);
        if header.command != Command::VERSION {
            return Seen::All(None);
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let agent = of_version(payload.get(..length).unwrap_or(payload));
        if agent.is_none() && payload.len() < length.min(ENOUGH - HEADER_LEN) {
            return Seen::Part;
        }
        Seen::All(agent)
    }
}

/// The user agent in the payload of a VERSION, as printable ASCII: what is none becomes `?`. `None` if
/// it is not there, or longer than Bitcoin Core takes.
pub(crate) fn of_version(payload: &[u8]) -> Option<Box<str>> {
    let agent = version::user_agent(payload).filter(|agent| agent.len() <= MAX_USER_AGENT)?;
    let printable = |&byte: &u8| if matches!(byte, 0x20..=0x7E) { char::from(byte) } else { '?' };
    Some(agent.iter().map(printable).collect())
}

/// Header, what stands before the user agent, its length, and itself.
const ENOUGH: usize = HEADER_LEN + USER_AGENT + 3 + MAX_USER_AGENT;

#[cfg(test)]
mod tests {
    use bip324_transport::v1::Magic;

    use super::*;

    fn version(agent: &[u8]) -> Vec<u8> {
        let mut payload = vec![0x55; USER_AGENT];
        match u8::try_from(agent.len()) {
            Ok(short) if short < 0xFD => payload.push(short),
            _ => {
                payload.push(0xFD);
                payload.extend_from_slice(&u16::try_from(agent.len()).unwrap().to_le_bytes());
            }
        }
        payload.extend_from_slice(agent);
        payload.extend_from_slice(&[0; 5]);
        message(Command::VERSION, &payload)
    }

    fn message(command: Command, payload: &[u8]) -> Vec<u8> {
        let header = Header::for_payload(Magic::REGTEST, command, payload);
        [&header.encode()[..], payload].concat()
    }

    /// What a watch finds in `stream` that passes in pieces of `size`, and how long it looked.
    fn found(stream: &[u8], size: usize) -> Option<(Option<String>, usize)> {
        let mut watch = Watch::default();
        for (count, piece) in stream.chunks(size).enumerate() {
            if let Seen::All(agent) = watch.look(piece) {
                return Some((agent.map(String::from), (count + 1) * size));
            }
            assert!(watch.0.len() <= ENOUGH);
        }
        None
    }

    #[test]
    fn it_is_found_at_any_fragmentation_and_no_later_than_it_passes() {
        for agent in ["", "/Satoshi:29.0.0/", &"a".repeat(252), &"b".repeat(256)] {
            let stream = [version(agent.as_bytes()), vec![7; 1000]].concat();
            for size in [1, 2, 3, 24, 50, 111, 2000] {
                let (seen, after) = found(&stream, size).unwrap();
                assert_eq!(seen.as_deref(), Some(agent), "in pieces of {size}");
                assert!(after < HEADER_LEN + USER_AGENT + 3 + agent.len() + size);
            }
        }
    }

    #[test]
    fn what_is_not_printable_is_not_passed_on() {
        let stream = version(b"/a\x1b[31m\n\xff\x7f\"/");
        assert_eq!(found(&stream, 9).unwrap().0.as_deref(), Some("/a?[31m???\"/"));
    }

    #[test]
    fn what_has_none_is_looked_at_no_longer_than_it_takes() {
        let cut = message(Command::VERSION, &[0x55; 85]);
        let other = message(Command::new("inv").unwrap(), &[7; 500]);
        for (stream, most) in [(version(&[b'a'; 257]), ENOUGH), (cut, 109), (other, HEADER_LEN)] {
            assert_eq!(found(&stream, 1), Some((None, most)));
        }
        assert_eq!(found(&version(b"/a:1/")[..100], 1), None);
    }
}
