//! Message types ("commands") and their one-byte ids in v2.

use std::fmt;

/// The 12-byte message type field of v1 and of the long form of v2. Any 12 bytes are
/// representable; [`Command::is_valid`] tells whether a receiver would accept them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Command([u8; COMMAND_LEN]);

/// Message types with a short id that is ever sent: 1 to this.
pub const SHORT_TYPES: usize = 28;

/// Length of the message type field.
pub const COMMAND_LEN: usize = 12;

impl Command {
    /// The message that opens every connection.
    pub const VERSION: Self = Self(padded("version"));

    /// Takes the field as it stands on the wire.
    pub const fn from_bytes(bytes: [u8; COMMAND_LEN]) -> Self {
        Self(bytes)
    }

    /// Pads `name` with NULs; `None` if it is longer than 12 bytes or not a valid type.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; COMMAND_LEN];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self(bytes)).filter(Self::is_valid)
    }

    /// The field as it stands on the wire.
    pub const fn to_bytes(self) -> [u8; COMMAND_LEN] {
        self.0
    }

    /// Whether a v1 receiver accepts it: printable ASCII (0x20..=0x7E), then only NULs.
    /// Core: `CMessageHeader::IsMessageTypeValid` (protocol.cpp). Core's v2 receiver also lets
    /// 0x7F pass; as that could not be said in v1, we do not.
    pub fn is_valid(&self) -> bool {
        let mut rest = self.0.iter().skip_while(|byte| matches!(byte, 0x20..=0x7E));
        rest.all(|&byte| byte == 0)
    }

    /// Whether this is a message type that Bitcoin nodes use or once used, with a short id or not.
    pub fn is_known(&self) -> bool {
        self.short_id().is_some() || LONG_ONLY.iter().any(|name| padded(name) == self.0)
    }

    /// The one-byte id under which this type is sent: 1..=28, BIP324 "Application layer
    /// specification". Later ids are understood but never sent, so that older peers understand us.
    pub fn short_id(&self) -> Option<u8> {
        // Types are short: comparing them as integers keeps this scan out of the profile.
        let wanted = u128_of(&self.0);
        let index = SHORT_IDS.iter().position(|&name| name == wanted)?;
        u8::try_from(index).ok()?.checked_add(1)
    }

    /// The type that a received one-byte id stands for; `None` for undefined ids.
    pub fn from_short_id(id: u8) -> Option<Self> {
        if id == FEATURE_ID {
            return Some(Self(padded("feature")));
        }
        let index = usize::from(id).checked_sub(1)?;
        SHORT_NAMES.get(index).map(|name| Self(padded(name)))
    }
}

/// The name of the message type with this short id of those ever sent; `None` for other numbers.
pub fn short_name(id: u8) -> Option<&'static str> {
    SHORT_NAMES.get(usize::from(id).checked_sub(1)?).copied()
}

/// The name; whatever is no printable ASCII is escaped.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        write!(f, "{}", self.0.get(..end).unwrap_or_default().escape_ascii())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

const fn padded(name: &str) -> [u8; COMMAND_LEN] {
    let name = name.as_bytes();
    let mut bytes = [0; COMMAND_LEN];
    let mut i = 0;
    #[expect(clippy::indexing_slicing, reason = "runs on constant names only")]
    while i < name.len() {
        bytes[i] = name[i];
        i += 1;
    }
    bytes
}

const fn u128_of(bytes: &[u8; COMMAND_LEN]) -> u128 {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    u128::from_le_bytes([a, b, c, d, e, f, g, h, i, j, k, l, 0, 0, 0, 0])
}

/// Ids 1..=28 in order. Core: `V2_MESSAGE_IDS` (net.cpp).
const SHORT_NAMES: [&str; SHORT_TYPES] = [
    "addr",
    "block",
    "blocktxn",
    "cmpctblock",
    "feefilter",
    "filteradd",
    "filterclear",
    "filterload",
    "getblocks",
    "getblocktxn",
    "getdata",
    "getheaders",
    "headers",
    "inv",
    "mempool",
    "merkleblock",
    "notfound",
    "ping",
    "pong",
    "sendcmpct",
    "tx",
    "getcfilters",
    "cfilter",
    "getcfheaders",
    "cfheaders",
    "getcfcheckpt",
    "cfcheckpt",
    "addrv2",
];

const SHORT_IDS: [u128; SHORT_NAMES.len()] = {
    let mut table = [0; SHORT_NAMES.len()];
    let mut i = 0;
    #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
    while i < table.len() {
        table[i] = u128_of(&padded(SHORT_NAMES[i]));
        i += 1;
    }
    table
};

/// BIP434 `feature`, in Core's table since 2026-06.
const FEATURE_ID: u8 = 37;

/// Types without a short id: those of Bitcoin Core, past and present, and of proposals (BIP330, BIP183,
/// package relay). By these a v1 message is known when it is not VERSION.
const LONG_ONLY: [&str; 31] = [
    "version",
    "verack",
    "getaddr",
    "sendheaders",
    "sendaddrv2",
    "wtxidrelay",
    "sendtxrcncl",
    "reqtxrcncl",
    "sketch",
    "reqsketchext",
    "reconcildiff",
    "feature",
    "reject",
    "alert",
    "checkorder",
    "submitorder",
    "reply",
    "getutxos",
    "utxos",
    "sendpackages",
    "ancpkginfo",
    "getpkgtxns",
    "pkgtxns",
    "uproof",
    "getuproof",
    "uttls",
    "getuttls",
    "usummary",
    "utreexotx",
    "uroot",
    "geturoot",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_and_names_are_each_other_s_inverse() {
        for id in 1..=28 {
            let command = Command::from_short_id(id).unwrap();
            assert_eq!(command.short_id(), Some(id), "{command:?}");
            assert_eq!(short_name(id), Some(command.to_string().as_str()));
            assert!(command.is_valid() && command.is_known());
        }
        assert_eq!(Command::from_short_id(14), Command::new("inv"));
        assert_eq!(Command::from_short_id(28), Command::new("addrv2"));
    }

    #[test]
    fn feature_is_understood_but_never_sent_short() {
        let feature = Command::from_short_id(37).unwrap();
        assert_eq!(Some(feature), Command::new("feature"));
        assert_eq!(feature.short_id(), None);
    }

    #[test]
    fn undefined_ids_stand_for_nothing() {
        for id in std::iter::once(0).chain(29..=36).chain(38..=255) {
            assert_eq!(Command::from_short_id(id), None, "id {id}");
            assert_eq!(short_name(id), None, "id {id}");
        }
    }

    #[test]
    fn validity_follows_the_v1_receiver() {
        let with = |at: usize, byte: u8| {
            let mut bytes = padded("blocktxn");
            bytes[at] = byte;
            Command::from_bytes(bytes).is_valid()
        };
        assert!(with(0, 0x20) && with(0, 0x7E) && with(8, b'a'));
        assert!(!with(0, 0x1F) && !with(0, 0x7F) && !with(0, 0x80));
        assert!(!with(11, b'a'), "text after the padding");
        assert!(Command::from_bytes(*b"abcdefghijkl").is_valid(), "no padding at all");
        assert!(Command::new("abcdefghijklm").is_none());
    }
}
