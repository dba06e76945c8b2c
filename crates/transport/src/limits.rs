//! Every limit of the wire, in bytes, with its source.

/// Largest v1 payload, header excluded. Core: `MAX_PROTOCOL_MESSAGE_LENGTH` (net.h).
pub const MAX_PAYLOAD: usize = 4_000_000;

/// Largest contents of a v2 packet: a 13-byte message type and the largest payload. A longer packet
/// ends the session as soon as its length is known. Core: `MAX_CONTENTS_LEN` (net.cpp).
pub const MAX_CONTENTS: usize = 1 + 12 + MAX_PAYLOAD;

/// Largest garbage either side may send. BIP324, "Handshake".
pub const MAX_GARBAGE: usize = 4095;

/// Length of a garbage terminator. BIP324, "Handshake".
pub const GARBAGE_TERMINATOR_LEN: usize = 16;

/// How far a reader may allocate beyond what has arrived, whatever length was announced.
/// Core: `MAX_RESERVE_AHEAD` (net.cpp).
pub const MAX_READ_AHEAD: usize = 256 * 1024;

/// A translation stops starting new messages once this much output waits to be written, so that
/// the output buffer holds at most this much and one message.
pub const BATCH: usize = 256 * 1024;

/// Longest user agent in a VERSION message. Core: `MAX_SUBVERSION_LENGTH` (net.h).
pub const MAX_USER_AGENT: usize = 256;
