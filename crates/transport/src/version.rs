//! The two places of a VERSION payload that the proxy looks at. Translation never does.
//!
//! Offsets: 20 addr_recv services, 28 addr_recv ip\[16\], 44 port (big endian), 46 addr_from,
//! 72 nonce, 80 user agent (CompactSize and bytes), then height and relay, both optional, and
//! whatever a later protocol adds. Core: `ProcessMessage`, `NetMsgType::VERSION`.

use std::net::{Ipv6Addr, SocketAddrV6};

use crate::limits::MAX_USER_AGENT;

/// The address the client believes it is talking to. IPv4 comes v4-mapped. `None` if the payload
/// ends before it.
pub fn addr_recv(payload: &[u8]) -> Option<SocketAddrV6> {
    let rest = payload.get(ADDR_RECV_IP..)?;
    let (ip, rest) = rest.split_first_chunk::<16>()?;
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    Some(SocketAddrV6::new(Ipv6Addr::from(*ip), port, 0, 0))
}

/// The BIP14 user agent, whatever its bytes. `None` if the payload ends before it does, or its length is
/// more than 65535.
pub fn user_agent(payload: &[u8]) -> Option<&[u8]> {
    let (length, rest) = read_compact_size(payload.get(USER_AGENT..)?)?;
    rest.get(..length)
}

/// The same payload with `agent` (such as `name:1.0`) appended to its BIP14 user agent; everything
/// behind the user agent is kept as it is.
///
/// `None` where it is to be left alone: no user agent, not of the form `/a:1/b:2/`, characters
/// other than printable ASCII, a length that is not canonical, or a result over 256 bytes.
pub fn append_user_agent(payload: &[u8], agent: &str) -> Option<Vec<u8>> {
    let (head, rest) = payload.split_at_checked(USER_AGENT)?;
    let (length, rest) = read_compact_size(rest)?;
    let (old, tail) = rest.split_at_checked(length)?;
    let bip14 = old.len() >= 2 && old.starts_with(b"/") && old.ends_with(b"/");
    let new_length = old.len().checked_add(agent.len())?.checked_add(1)?;
    if !bip14 || !old.iter().all(|byte| matches!(byte, 0x20..=0x7E)) || new_length > MAX_USER_AGENT
    {
        return None;
    }

    let mut new = Vec::with_capacity(payload.len() + agent.len() + 3);
    new.extend_from_slice(head);
    write_compact_size(new_length, &mut new);
    new.extend_from_slice(old);
    new.extend_from_slice(agent.as_bytes());
    new.push(b'/');
    new.extend_from_slice(tail);
    Some(new)
}

/// Lengths up to 65535 suffice: a user agent has at most 256 bytes.
fn read_compact_size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (0xFD, rest) => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_le_bytes(*length));
            (length >= 0xFD).then_some((length, rest))
        }
        (0xFE | 0xFF, _) => None,
        (&length, rest) => Some((usize::from(length), rest)),
    }
}

fn write_compact_size(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short) if short < 0xFD => out.push(short),
        _ => {
            out.push(0xFD);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        }
    }
}

const ADDR_RECV_IP: usize = 28;
/// Where the user agent begins, with its length.
pub const USER_AGENT: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "bip324-proxy:0.1";

    /// A VERSION payload with this user agent and tail.
    fn payload(user_agent: &[u8], tail: &[u8]) -> Vec<u8> {
        let mut payload = vec![0x55; USER_AGENT];
        write_compact_size(user_agent.len(), &mut payload);
        payload.extend_from_slice(user_agent);
        payload.extend_from_slice(tail);
        payload
    }

    #[test]
    fn b10_addr_recv_is_read_at_every_legal_length() {
        let mut bytes = vec![0; 46];
        bytes[28..44].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 203, 0, 113, 2]);
        bytes[44..46].copy_from_slice(&[0x20, 0x8D]);
        let expected: SocketAddrV6 = "[::ffff:203.0.113.2]:8333".parse().unwrap();
        assert_eq!(addr_recv(&bytes), Some(expected));
        assert_eq!(addr_recv(&bytes[..45]), None);
        for length in [79, 80, 85, 86, 300] {
            bytes.resize(length, 0);
            assert_eq!(addr_recv(&bytes), Some(expected));
        }
    }

    #[test]
    fn b10_user_agent_is_read_once_it_is_complete() {
        for agent in [&b""[..], b"/Satoshi:29.0.0/", &[0xFF; 252], &[b'a'; 253], &[b'a'; 256]] {
            let whole = payload(agent, b"tail");
            assert_eq!(user_agent(&whole), Some(agent));
            for length in 0..whole.len() - 4 {
                assert_eq!(user_agent(&whole[..length]), None, "cut at {length}");
            }
        }
    }

    #[test]
    fn b10_user_agent_is_spliced_and_the_tail_kept() {
        for tail in [&b""[..], b"\x01\0\0\0", b"\x01\0\0\0\x01", b"\x01\0\0\0\x01unknown tail"] {
            let old = payload(b"/Satoshi:29.0.0/", tail);
            let new = append_user_agent(&old, AGENT).unwrap();
            assert_eq!(new, payload(b"/Satoshi:29.0.0/bip324-proxy:0.1/", tail));
        }
    }

    #[test]
    fn b10_user_agent_lengths() {
        let agent_of = |length: usize| {
            let mut agent = vec![b'a'; length];
            if length >= 2 {
                agent[0] = b'/';
                agent[length - 1] = b'/';
            }
            agent
        };
        let added = AGENT.len() + 1;
        for length in [0, 1] {
            assert_eq!(append_user_agent(&payload(&agent_of(length), b"t"), AGENT), None);
        }
        for length in [2, 252 - added, 253 - added, 256 - added] {
            let new = append_user_agent(&payload(&agent_of(length), b"t"), AGENT).unwrap();
            let mut agent = agent_of(length);
            agent.extend_from_slice(b"bip324-proxy:0.1/");
            assert_eq!(new, payload(&agent, b"t"), "from {length} bytes");
        }
        for length in [257 - added, 252, 253, 256, 257] {
            assert_eq!(append_user_agent(&payload(&agent_of(length), b"t"), AGENT), None);
        }
    }

    #[test]
    fn b10_anything_odd_is_left_alone() {
        for odd in [&b"Kyoto Light Client / 0.15 /"[..], b"/no end", b"/tab\t/", b"/\xff/"] {
            assert_eq!(append_user_agent(&payload(odd, b""), AGENT), None, "{odd:?}");
        }
        let whole = payload(b"/a:1/", b"");
        for length in 0..whole.len() {
            assert_eq!(append_user_agent(&whole[..length], AGENT), None, "cut at {length}");
        }
        let mut not_canonical = vec![0; USER_AGENT];
        not_canonical.extend_from_slice(b"\xfd\x03\0/a/");
        assert_eq!(append_user_agent(&not_canonical, AGENT), None);
    }
}
