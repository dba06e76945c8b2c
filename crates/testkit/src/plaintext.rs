//! Telling v1 from ciphertext.

use bip324_transport::command::{COMMAND_LEN, Command};

use crate::node::Network;

/// Where v1 begins in `bytes`: at the magic with a message type behind it, or at the word `version`.
///
/// The four bytes of a magic alone turn up in ciphertext, once in 4 GiB: type bytes that no v1
/// receiver accepts tell the two apart. Where `bytes` end before the type does, it gets the benefit
/// of no doubt.
pub fn find(bytes: &[u8], network: Network) -> Option<usize> {
    let magic = network.magic();
    let mut headers = memchr::memmem::find_iter(bytes, &magic);
    headers
        .find(|at| is_type(bytes.get(at + magic.len()..).unwrap_or_default()))
        .or_else(|| memchr::memmem::find(bytes, b"version"))
}

/// Whether `rest` may begin with a message type. What is missing of it counts as padding.
fn is_type(rest: &[u8]) -> bool {
    let mut field = [0; COMMAND_LEN];
    for (to, from) in field.iter_mut().zip(rest) {
        *to = *from;
    }
    Command::from_bytes(field).is_valid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Option<usize> {
        find(bytes, Network::Regtest)
    }

    #[test]
    fn v1_is_found_and_a_magic_by_chance_is_not() {
        assert_eq!(found(b"...\xfa\xbf\xb5\xdaping\0\0\0\0\0\0\0\0\x08"), Some(3));
        assert_eq!(found(b"\xfa\xbf\xb5\xdapi"), Some(0), "the end of a segment");
        assert_eq!(found(b"the word version"), Some(9));
        assert_eq!(found(b"...\xfa\xbf\xb5\xda\x9b\x11\x02ciphertext"), None);
        assert_eq!(found(b"\xfa\xbf\xb5\xda\x9b\x11 \xfa\xbf\xb5\xdatx\0\0\0"), Some(7));
        assert_eq!(found(b"nothing"), None);
    }
}
