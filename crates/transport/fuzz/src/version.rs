//! VERSION payloads: the address in them, and the user agent's splice, against rust-bitcoin's
//! parser.

use arbitrary::Arbitrary;
use bip324_transport::version::{addr_recv, append_user_agent};
use bitcoin::consensus::encode::{VarInt, deserialize_partial};
use bitcoin::p2p::message_network::VersionMessage;

use crate::script;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    /// Appended name, of this many characters.
    agent: u8,
    /// Writes the length of a user agent that ends this many bytes before the end.
    tail: Option<u8>,
    /// Writes it in three bytes, canonical or not.
    wide: bool,
    payload: &'a [u8],
}

/// Nothing but the user agent changes, and it stays what every parser accepts.
pub fn run(data: &[u8]) {
    let Some(Input { agent, tail, wide, payload }) = script(data) else { return };
    let agent = "n".repeat(usize::from(agent));
    let payload = tail.map_or_else(|| payload.to_vec(), |tail| with_length(payload, tail, wide));

    let parsed = deserialize_partial::<VersionMessage>(&payload).ok();
    assert_eq!(addr_recv(&payload).is_some(), payload.len() >= 46);
    if let Some((version, _)) = &parsed {
        let ip = std::net::Ipv6Addr::from(version.receiver.address);
        let address = std::net::SocketAddrV6::new(ip, version.receiver.port, 0, 0);
        assert_eq!(addr_recv(&payload), Some(address));
    }

    let spliced = append_user_agent(&payload, &agent);
    match (&spliced, user_agent(&payload)) {
        (Some(new), Some(old)) => {
            assert!(is_bip14(old), "{old:?}");
            let agent = [old, agent.as_bytes(), b"/"].concat();
            assert_eq!(user_agent(new), Some(&agent[..]));
            assert!(agent.len() <= 256);
            assert_eq!(new[..80], payload[..80]);
            assert_eq!(behind(new), behind(&payload));
        }
        (Some(_), None) => panic!("spliced, without a user agent: {payload:?}"),
        (None, old) => {
            let fits = |old: &[u8]| is_bip14(old) && old.len() + agent.len() < 256;
            assert!(!old.is_some_and(fits), "left alone: {old:?}");
        }
    }
    if let (Some(new), Some((mut version, consumed))) = (spliced, parsed) {
        let (other, other_consumed) = deserialize_partial::<VersionMessage>(&new).unwrap();
        assert_eq!(payload.len() - consumed, new.len() - other_consumed);
        version.user_agent.push_str(&agent);
        version.user_agent.push('/');
        assert_eq!(other, version);
    }
}

/// The user agent, if its length is canonical and all of it is there.
fn user_agent(payload: &[u8]) -> Option<&[u8]> {
    let (length, used) = deserialize_partial::<VarInt>(payload.get(80..)?).ok()?;
    payload.get(80 + used..)?.get(..usize::try_from(length.0).ok()?)
}

/// What stands behind the user agent.
fn behind(payload: &[u8]) -> Option<&[u8]> {
    let (length, used) = deserialize_partial::<VarInt>(payload.get(80..)?).ok()?;
    payload.get(80 + used..)?.get(usize::try_from(length.0).ok()?..)
}

fn is_bip14(agent: &[u8]) -> bool {
    let text = agent.iter().all(|byte| (0x20..0x7F).contains(byte));
    text && agent.len() >= 2 && agent.starts_with(b"/") && agent.ends_with(b"/")
}

/// The payload with the length of a user agent that reaches to `tail` bytes before its end.
fn with_length(payload: &[u8], tail: u8, wide: bool) -> Vec<u8> {
    let Some((head, rest)) = payload.split_at_checked(80) else { return payload.to_vec() };
    let length = rest.len().saturating_sub(usize::from(tail));
    let length = match u16::try_from(length) {
        Ok(length) if wide => [&[0xFD][..], &length.to_le_bytes()].concat(),
        _ => bitcoin::consensus::serialize(&VarInt(length as u64)),
    };
    [head, &length, rest].concat()
}
