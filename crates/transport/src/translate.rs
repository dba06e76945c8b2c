//! Translation of whole buffers of messages, v1 to v2 and back. Payloads are carried, never parsed.

use crate::command::{COMMAND_LEN, Command, SHORT_TYPES};
use crate::limits::{BATCH, GARBAGE_TERMINATOR_LEN, MAX_PAYLOAD};
use crate::tally::Tally;
use crate::v1::{self, HEADER_LEN, Header, Magic};
use crate::v2::{self, Decoded, GarbageScan, PACKET_OVERHEAD, PacketReader, PacketWriter};

/// How far a translation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes at the front of the input that are done with. The caller drops them and hands in the
    /// rest again, unchanged, in front of what it receives next.
    pub consumed: usize,
    /// Length of the message that the rest begins with, as far as it is known: at least 1, at most
    /// what a message may have. If the rest is as long as this, the output had grown to
    /// [`BATCH`] bytes: write it out and call again. Otherwise read on, with room for at most
    /// [`MAX_READ_AHEAD`](crate::limits::MAX_READ_AHEAD) bytes beyond those received.
    pub wants: usize,
}

/// v1 messages in, v2 packets out.
pub struct Sender {
    magic: Magic,
    packets: PacketWriter,
    counts: SentCounts,
    tally: Tally,
}

/// What a [`Sender`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCounts {
    /// Messages translated.
    pub messages: u64,
    /// Messages left out because their checksum was wrong: v2 has none, it would vouch for them.
    pub dropped_checksum: u64,
    /// Messages left out because no receiver accepts their type.
    pub dropped_type: u64,
}

impl Sender {
    pub(crate) const fn new(magic: Magic, packets: PacketWriter) -> Self {
        let counts = SentCounts { messages: 0, dropped_checksum: 0, dropped_type: 0 };
        Self { magic, packets, counts, tally: Tally::new() }
    }

    /// Appends a packet to `out` for every complete message in `input`. What Core's v1 receiver
    /// would drop is dropped here: wrong checksums and invalid types.
    ///
    /// # Errors
    ///
    /// The message at hand ends the connection. Those before it are in `out`.
    pub fn translate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Progress, v1::Error> {
        let mut rest = input;
        let wants = loop {
            let Some((header, body)) = rest.split_first_chunk::<HEADER_LEN>() else {
                break HEADER_LEN;
            };
            let header = Header::parse(header);
            let length = header.check(self.magic)?;
            let Some((payload, next)) = body.split_at_checked(length) else {
                break HEADER_LEN + length;
            };
            if out.len() >= BATCH {
                break HEADER_LEN + length;
            }
            self.message(&header, payload, out);
            rest = next;
        };
        Ok(Progress { consumed: input.len() - rest.len(), wants })
    }

    /// What was translated and dropped so far.
    pub const fn counts(&self) -> &SentCounts {
        &self.counts
    }

    /// What was translated since this was last drained, by type.
    pub const fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn message(&mut self, header: &Header, payload: &[u8], out: &mut Vec<u8>) {
        if !header.command.is_valid() {
            self.counts.dropped_type += 1;
        } else if v1::checksum(payload) != header.checksum {
            self.counts.dropped_checksum += 1;
        } else {
            self.counts.messages += 1;
            let (id, kind) = match header.command.short_id() {
                Some(id) => {
                    self.packets.write(&[id], payload, out);
                    (id, 1)
                }
                None => {
                    let [a, b, c, d, e, f, g, h, i, j, k, l] = header.command.to_bytes();
                    let long = [LONG_FORM, a, b, c, d, e, f, g, h, i, j, k, l];
                    self.packets.write(&long, payload, out);
                    (0, long.len())
                }
            };
            let packet = PACKET_OVERHEAD + kind + payload.len();
            self.tally.add(id, header.command, payload.len(), packet);
        }
    }
}

/// v2 bytes in, v1 messages out: garbage, decoys and version packet are dealt with on the way.
///
/// ```text
///   Garbage ──terminator found──▶ Version ──first packet that is no decoy──▶ Application
/// ```
pub struct Receiver {
    magic: Magic,
    state: State,
    packets: PacketReader,
    counts: ReceivedCounts,
    tally: Tally,
}

/// Named after what comes next, as Core's `RecvState`.
enum State {
    /// Garbage and its terminator; the input holds all of it.
    Garbage(GarbageScan),
    /// Decoys, then the version packet, whose contents mean nothing yet.
    Version,
    /// Decoys and messages.
    Application,
}

/// What a [`Receiver`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedCounts {
    /// Messages translated.
    pub messages: u64,
    /// Decoys skipped, those before the version packet included.
    pub decoys: u64,
    /// Messages left out: empty contents, an undefined short id, a type that v1 cannot say, or a
    /// payload over v1's limit.
    pub dropped: u64,
}

impl Receiver {
    pub(crate) const fn new(magic: Magic, packets: PacketReader, scan: GarbageScan) -> Self {
        let counts = ReceivedCounts { messages: 0, decoys: 0, dropped: 0 };
        let (state, tally) = (State::Garbage(scan), Tally::new());
        Self { magic, state, packets, counts, tally }
    }

    /// Decrypts complete packets in `input`, in place, and appends their messages to `out`. Only
    /// authenticated messages ever reach `out`, and only whole ones. What Core's v2 receiver would
    /// drop is dropped here, with the session kept.
    ///
    /// # Errors
    ///
    /// The session is over, and this must not be called again. Messages authenticated before are
    /// in `out`.
    pub fn translate(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, v2::Error> {
        let mut consumed = 0;
        if let State::Garbage(scan) = &mut self.state {
            let Some(garbage) = scan.find(input)? else {
                return Ok(Progress { consumed, wants: input.len() + 1 });
            };
            self.packets.garbage = input.get(..garbage).unwrap_or_default().to_vec();
            self.state = State::Version;
            consumed = garbage + GARBAGE_TERMINATOR_LEN;
        }
        loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            if out.len() >= BATCH {
                let wants = self.packets.wants(rest)?;
                return Ok(Progress { consumed, wants });
            }
            match self.packets.read(rest)? {
                Decoded::Incomplete { wants } => return Ok(Progress { consumed, wants }),
                Decoded::Packet { length, ignore, contents } => {
                    consumed += length;
                    match self.state {
                        _ if ignore => self.counts.decoys += 1,
                        State::Application => match message(self.magic, contents, out) {
                            Some(Message { id, command, payload }) => {
                                self.counts.messages += 1;
                                self.tally.add(id, command, payload, length);
                            }
                            None => self.counts.dropped += 1,
                        },
                        _ => self.state = State::Application,
                    }
                }
            }
        }
    }

    /// Whether the peer's version packet has come: only then is it known to speak v2 with us.
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Application)
    }

    /// What was translated, skipped and dropped so far.
    pub const fn counts(&self) -> &ReceivedCounts {
        &self.counts
    }

    /// What was translated since this was last drained, by type.
    pub const fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// A message that was received.
struct Message {
    /// Of its type; 0 if that has none.
    id: u8,
    command: Command,
    /// Bytes.
    payload: usize,
}

/// Appends the v1 message that a packet's `contents` stand for; `None` if v1 has none. Core:
/// `V2Transport::GetMessageType` (net.cpp).
fn message(magic: Magic, contents: &[u8], out: &mut Vec<u8>) -> Option<Message> {
    let (id, command, payload) = match contents.split_first()? {
        (&LONG_FORM, rest) => {
            let (command, payload) = rest.split_first_chunk::<COMMAND_LEN>()?;
            let command = Command::from_bytes(*command);
            (command.short_id().unwrap_or(0), command, payload)
        }
        (&id, payload) => {
            let command = Command::from_short_id(id)?;
            (if usize::from(id) > SHORT_TYPES { 0 } else { id }, command, payload)
        }
    };
    if !command.is_valid() || payload.len() > MAX_PAYLOAD {
        return None;
    }
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&Header::for_payload(magic, command, payload).encode());
    out.extend_from_slice(payload);
    Some(Message { id, command, payload: payload.len() })
}

/// First byte of contents whose type follows in full.
const LONG_FORM: u8 = 0;
