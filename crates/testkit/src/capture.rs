//! What crosses the wire, by tcpdump.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::namespace::{Family, WIRE};
use crate::node::Network;
use crate::plaintext;
use crate::process::Process;
use crate::wait::wait_for;

/// A running capture of all TCP packets at the host's end of the wire.
#[derive(Debug)]
pub struct Capture<'lab> {
    lab: &'lab Lab,
    tcpdump: Process,
    file: PathBuf,
    /// Bytes of each packet that are kept.
    kept: usize,
}

/// The TCP packets that crossed the wire while a capture ran.
#[derive(Debug)]
pub struct Traffic {
    packets: Vec<Vec<u8>>,
}

impl<'lab> Capture<'lab> {
    /// Starts one, and returns when it sees packets.
    ///
    /// # Errors
    ///
    /// Where tcpdump does not start.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        Self::start_keeping(lab, PACKET_BYTES)
    }

    /// As [`Self::start`], but keeps only the first 512 bytes of each packet, and so keeps up with a
    /// hundred times as many: for clients whose messages are short.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_of_heads(lab: &'lab Lab) -> Result<Self> {
        Self::start_keeping(lab, HEAD_BYTES)
    }

    fn start_keeping(lab: &'lab Lab, kept: usize) -> Result<Self> {
        let file = lab.folder().join("wire.pcap");
        // What an earlier capture said and saw would be taken for this one's.
        for old in [&file, &lab.folder().join("tcpdump.log")] {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        let mut command = lab.host.command("tcpdump");
        command.args(["-i", WIRE, "-n", "-U", "--immediate-mode", "-Z", "root"]);
        command.args(["-s", &kept.to_string(), "-B", BUFFER_KIB, "-w"]);
        command.arg(&file).arg(format!("tcp or udp port {MARKER_PORT}"));
        let mut tcpdump = Process::spawn("tcpdump", command, lab.folder())?;
        tcpdump
            .wait_for_log("the start", LIMIT, |log| log.contains("listening on").then_some(()))?;
        Ok(Self { lab, tcpdump, file, kept })
    }

    /// The packets that have been captured until now.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or a packet was longer than a capture of whole ones keeps.
    pub fn so_far(&self) -> Result<Traffic> {
        let packets = split(&fs::read(&self.file)?)?;
        let cut = packets.iter().any(|(length, packet)| *length > packet.len());
        ensure!(!cut || self.kept == HEAD_BYTES, "a packet was longer than {PACKET_BYTES} bytes");
        Ok(Traffic { packets: packets.into_iter().map(|(_, packet)| packet).collect() })
    }

    /// Ends it, after a packet sent now has been captured: all earlier ones have been too.
    ///
    /// # Errors
    ///
    /// Where tcpdump lost packets or missed the last one.
    pub fn stop(mut self) -> Result<Traffic> {
        self.lab.host.run(|| {
            let socket = UdpSocket::bind((Family::V4.host(), 0))?;
            Ok(socket.send_to(MARKER, (Family::V4.peer(), MARKER_PORT))?)
        })?;
        wait_for("the last packet of the capture", LIMIT, || {
            Ok(contains(&fs::read(&self.file)?, MARKER).then_some(()))
        })?;
        self.tcpdump.signal(Signal::SIGINT)?;
        self.tcpdump.wait_for_end(LIMIT)?;
        let log = self.tcpdump.log()?;
        ensure!(log.contains("\n0 packets dropped by kernel"), "tcpdump lost packets: {log}");
        let mut traffic = self.so_far()?;
        traffic.packets.retain(|packet| !contains(packet, MARKER));
        Ok(traffic)
    }
}

impl Traffic {
    /// Fails unless there was traffic, and no v1 in it.
    ///
    /// # Errors
    ///
    /// Where the capture is empty, or holds v1 bytes.
    pub fn require_no_plaintext(&self, network: Network) -> Result<()> {
        ensure!(!self.packets.is_empty(), "the capture is empty: it proves nothing");
        let plain = self.plaintext(network);
        ensure!(plain == 0, "{plain} of {} packets hold v1 plaintext", self.packets.len());
        Ok(())
    }

    /// Fails unless there was no TCP packet at all.
    ///
    /// # Errors
    ///
    /// Where there was one.
    pub fn require_silence(&self) -> Result<()> {
        ensure!(self.packets.is_empty(), "{} TCP packets crossed the wire", self.packets.len());
        Ok(())
    }

    /// Whether no TCP packet crossed the wire.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Those packets of it that were sent to `ip`.
    pub fn sent_to(&self, ip: IpAddr) -> Self {
        let sent = self.packets.iter().filter(|packet| header(packet).is_some_and(|h| h.to == ip));
        Self { packets: sent.cloned().collect() }
    }

    /// Connections that somebody tried to open, however often he repeated the SYN of one.
    pub fn dials(&self) -> usize {
        let syns = self.packets.iter().filter_map(|packet| header(packet)).filter(|h| h.opens);
        syns.map(|h| (h.to, h.from_port)).collect::<HashSet<_>>().len()
    }

    /// Number of TCP packets.
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Packets that hold v1, as [`plaintext::find`] finds it.
    pub fn plaintext(&self, network: Network) -> usize {
        self.packets.iter().filter(|packet| plaintext::find(packet, network).is_some()).count()
    }

    /// Packets that hold one of `words`. Among n bytes of ciphertext, four given ones turn up n times
    /// in 2^32: where there are millions, ask for more than a magic.
    pub fn holding(&self, words: &[&[u8]]) -> usize {
        let holds = |packet: &&Vec<u8>| words.iter().any(|word| contains(packet, word));
        self.packets.iter().filter(holds).count()
    }

    /// Those packets of it whose traffic class (IPv4: type of service) has these upper six bits. The
    /// lower two are the network's.
    pub fn of_class(&self, class: u8) -> Self {
        let same =
            |packet: &&Vec<u8>| header(packet).is_some_and(|h| (h.class ^ class) & 0xFC == 0);
        Self { packets: self.packets.iter().filter(same).cloned().collect() }
    }
}

/// The packets in a pcap file, behind the length that each had on the wire: a file header of 24 bytes,
/// then each packet behind one of 16, of which bytes 8..12 are its captured length in the machine's
/// byte order, and 12..16 that on the wire.
fn split(file: &[u8]) -> Result<Vec<(usize, Vec<u8>)>> {
    let mut rest = file.get(24..).unwrap_or_default();
    let mut packets = Vec::new();
    while let Some((header, body)) = rest.split_at_checked(16) {
        let &[_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h] = header else { break };
        let captured = usize::try_from(u32::from_ne_bytes([a, b, c, d]))?;
        let length = usize::try_from(u32::from_ne_bytes([e, f, g, h]))?;
        let Some((packet, next)) = body.split_at_checked(captured) else { break };
        packets.push((length, packet.to_vec()));
        rest = next;
    }
    Ok(packets)
}

/// What the headers of a TCP packet say.
pub(crate) struct Header {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    from_port: u16,
    /// SYN without ACK.
    pub(crate) opens: bool,
    pub(crate) class: u8,
    /// Bytes behind the headers.
    pub(crate) payload: usize,
}

/// Reads the headers of an Ethernet frame with TCP in it. `None` where there is no IP.
pub(crate) fn header(frame: &[u8]) -> Option<Header> {
    let (ethertype, packet) = frame.get(12..)?.split_first_chunk()?;
    let (&first, &second) = (packet.first()?, packet.get(1)?);
    let (class, from, to, tcp) = match *ethertype {
        [0x08, 0x00] => {
            let (from, to) = packet.get(12..20)?.split_first_chunk::<4>()?;
            let to = IpAddr::from(*to.first_chunk::<4>()?);
            (second, IpAddr::from(*from), to, packet.get(usize::from(first & 0x0F) * 4..)?)
        }
        [0x86, 0xDD] => {
            let (from, to) = packet.get(8..40)?.split_first_chunk::<16>()?;
            let to = IpAddr::from(*to.first_chunk::<16>()?);
            ((first << 4) | (second >> 4), IpAddr::from(*from), to, packet.get(40..)?)
        }
        _ => return None,
    };
    let from_port = u16::from_be_bytes(*tcp.first_chunk()?);
    let opens = tcp.get(13)? & 0x12 == 0x02;
    let payload = tcp.len().saturating_sub(usize::from(tcp.get(12)? >> 4) * 4);
    Some(Header { from, to, from_port, opens, class, payload })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}

pub(crate) const MARKER: &[u8] = b"bip324-test: end of capture";
/// The discard port.
pub(crate) const MARKER_PORT: u16 = 9;
/// Largest packet on the wire, which has no segmentation offload: 1500 bytes and an Ethernet header.
pub const PACKET_BYTES: usize = 1514;

const HEAD_BYTES: usize = 512;

/// The kernel sets aside the largest size for each packet: this is room for 32,000, or 45 MB.
pub const BUFFER_KIB: &str = "65536";

const LIMIT: Duration = Duration::from_secs(20);
