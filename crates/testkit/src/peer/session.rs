//! One end of a BIP324 connection, in either role, made of keys and ciphers alone.

use std::fmt;

use anyhow::{Context, Result, ensure};
use bip324_transport::command::Command;
use bip324_transport::limits::{GARBAGE_TERMINATOR_LEN, MAX_GARBAGE};
use bip324_transport::v1::Magic;
use bip324_transport::v2::{
    KEY_LEN, KeyPair, LENGTH_LEN, LengthCipher, PACKET_OVERHEAD, PacketCipher, Role, SessionId,
};

use super::Wire;

/// A connection on which both keys are known. Which bytes go out is up to the test.
#[derive(Debug)]
pub struct Session {
    /// The connection; writing to it directly sends bytes as they are.
    pub wire: Wire,
    /// Our 64 bytes.
    pub key: [u8; KEY_LEN],
    /// Equal on both sides.
    pub id: SessionId,
    /// Ends our garbage.
    pub terminator: [u8; GARBAGE_TERMINATOR_LEN],
    their_terminator: [u8; GARBAGE_TERMINATOR_LEN],
    /// Makes our packets.
    pub seal: Sealer,
    /// Opens theirs.
    pub open: Opener,
}

/// A packet as it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The header byte; 0x80 marks a decoy.
    pub header: u8,
    /// Message type and payload.
    pub contents: Vec<u8>,
}

impl Session {
    /// The responder, once the initiator's key has arrived on `wire`. Nothing is sent.
    ///
    /// # Errors
    ///
    /// Where the key does not arrive.
    pub async fn meet(mut wire: Wire, magic: Magic) -> Result<Self> {
        let theirs = wire.read(KEY_LEN).await?;
        Self::derive(wire, &KeyPair::generate()?, &theirs, Role::Responder, magic)
    }

    /// The initiator, with the whole handshake done: `garbage` sent, the responder's version packet
    /// received.
    ///
    /// # Errors
    ///
    /// Where the responder's part of the handshake is missing or wrong.
    pub async fn initiate(mut wire: Wire, magic: Magic, garbage: &[u8]) -> Result<Self> {
        let keys = KeyPair::generate()?;
        wire.write(&[keys.public().as_slice(), garbage].concat()).await?;
        let theirs = wire.read(KEY_LEN).await?;
        let mut session = Self::derive(wire, &keys, &theirs, Role::Initiator, magic)?;
        let [_, second_flight] = session.flights(garbage);
        session.wire.write(&second_flight).await?;
        session.finish().await?;
        Ok(session)
    }

    fn derive(wire: Wire, keys: &KeyPair, theirs: &[u8], role: Role, magic: Magic) -> Result<Self> {
        let theirs = theirs.first_chunk().context("a key")?;
        let secrets = keys.derive(theirs, role, magic);
        Ok(Self {
            wire,
            key: *keys.public(),
            id: secrets.id,
            terminator: secrets.send_terminator,
            their_terminator: secrets.receive_terminator,
            seal: Sealer {
                lengths: LengthCipher::new(&secrets.send_length),
                packets: PacketCipher::new(&secrets.send_packet),
            },
            open: Opener {
                lengths: LengthCipher::new(&secrets.receive_length),
                packets: PacketCipher::new(&secrets.receive_packet),
            },
        })
    }

    /// All that an honest responder sends in its handshake: key, garbage, terminator and an empty
    /// version packet.
    pub fn opening(&mut self, garbage: &[u8]) -> Vec<u8> {
        self.flights(garbage).concat()
    }

    fn flights(&mut self, garbage: &[u8]) -> [Vec<u8>; 2] {
        let version = self.seal.packet_with(0, &[], garbage);
        [[&self.key, garbage].concat(), [self.terminator.as_slice(), &version].concat()]
    }

    /// Reads the other side's part of the handshake behind its key, checks it, and returns its
    /// garbage.
    ///
    /// # Errors
    ///
    /// Where the terminator or a version packet that authenticates the garbage does not come.
    pub async fn finish(&mut self) -> Result<Vec<u8>> {
        let mut garbage = Vec::new();
        while !garbage.ends_with(&self.their_terminator) {
            ensure!(garbage.len() < MAX_GARBAGE + GARBAGE_TERMINATOR_LEN, "no terminator");
            garbage.extend(self.wire.read(1).await?);
        }
        garbage.truncate(garbage.len() - GARBAGE_TERMINATOR_LEN);
        let version = self.packet_with(&garbage).await?;
        ensure!(version.header == 0, "the first packet is no version packet: {version:?}");
        Ok(garbage)
    }

    /// Sends a genuine packet.
    ///
    /// # Errors
    ///
    /// As [`Wire::write`].
    pub async fn send(&mut self, contents: &[u8]) -> Result<()> {
        let packet = self.seal.packet(0, contents);
        self.wire.write(&packet).await
    }

    /// Sends a message, its type in the long form.
    ///
    /// # Errors
    ///
    /// Where `name` is no message type; or as [`Wire::write`].
    pub async fn send_message(&mut self, name: &str, payload: &[u8]) -> Result<()> {
        self.send(&long_form(name, payload)?).await
    }

    /// The next packet.
    ///
    /// # Errors
    ///
    /// Where none arrives, or it is damaged.
    pub async fn packet(&mut self) -> Result<Packet> {
        self.packet_with(&[]).await
    }

    async fn packet_with(&mut self, aad: &[u8]) -> Result<Packet> {
        let length = self.wire.read(LENGTH_LEN).await?;
        let length = self.open.length(*length.first_chunk().context("a length")?);
        let mut sealed = self.wire.read(PACKET_OVERHEAD - LENGTH_LEN + length).await?;
        self.open.packet(aad, &mut sealed)
    }

    /// The next message: its type and its payload.
    ///
    /// # Errors
    ///
    /// As [`Self::packet`], or where the packet holds no message.
    pub async fn message(&mut self) -> Result<(Command, Vec<u8>)> {
        let Packet { header, contents } = self.packet().await?;
        ensure!(header == 0, "header {header:#x}");
        match contents.split_first().context("empty contents")? {
            (0, rest) => {
                let (name, payload) = rest.split_first_chunk().context("a short long form")?;
                Ok((Command::from_bytes(*name), payload.to_vec()))
            }
            (&id, payload) => {
                let command = Command::from_short_id(id).with_context(|| format!("id {id}"))?;
                Ok((command, payload.to_vec()))
            }
        }
    }
}

/// Contents of a packet that carries a message, with its type in the long form.
///
/// # Errors
///
/// Where `name` is no message type.
pub fn long_form(name: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let command = Command::new(name).with_context(|| format!("{name} is no message type"))?;
    Ok([&[0], command.to_bytes().as_slice(), payload].concat())
}

/// Makes the packets of one direction.
pub struct Sealer {
    lengths: LengthCipher,
    packets: PacketCipher,
}

impl Sealer {
    /// A packet with this header byte and these contents, up to 2^24 - 1 bytes.
    pub fn packet(&mut self, header: u8, contents: &[u8]) -> Vec<u8> {
        self.packet_with(header, contents, &[])
    }

    /// A packet that also authenticates `aad`: the first one has to do so with our garbage.
    pub fn packet_with(&mut self, header: u8, contents: &[u8], aad: &[u8]) -> Vec<u8> {
        let mut sealed = [&[header], contents].concat();
        let tag = self.packets.seal(aad, &mut sealed);
        [self.length(contents.len()).as_slice(), &sealed, &tag].concat()
    }

    /// The three bytes that announce a packet of `length` bytes of contents, and nothing behind
    /// them. Bits above the 24th are lost.
    pub fn length(&mut self, length: usize) -> [u8; LENGTH_LEN] {
        let [a, b, c, ..] = length.to_le_bytes();
        self.lengths.apply([a, b, c])
    }
}

/// Opens the packets of one direction.
pub struct Opener {
    lengths: LengthCipher,
    packets: PacketCipher,
}

impl Opener {
    /// The contents' length that these three bytes announce.
    pub fn length(&mut self, bytes: [u8; LENGTH_LEN]) -> usize {
        let [a, b, c] = self.lengths.apply(bytes);
        u32::from_le_bytes([a, b, c, 0]) as usize
    }

    /// Opens what follows the length.
    ///
    /// # Errors
    ///
    /// Where it is damaged.
    pub fn packet(&mut self, aad: &[u8], sealed: &mut [u8]) -> Result<Packet> {
        let plaintext = self.packets.open(aad, sealed)?;
        let (&header, contents) = plaintext.split_first().context("a header")?;
        Ok(Packet { header, contents: contents.to_vec() })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}
