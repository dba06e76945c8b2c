//! What crosses the wire, by tcpdump.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::namespace::{Family, WIRE};
use crate::node::Network;
use crate::process::Process;
use crate::wait::wait_for;

/// A running capture of all TCP packets at the host's end of the wire.
#[derive(Debug)]
pub struct Capture<'lab> {
    lab: &'lab Lab,
    tcpdump: Process,
    file: PathBuf,
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
        let file = lab.folder().join("wire.pcap");
        let mut command = lab.host.command("tcpdump");
        command.args(["-i", WIRE, "-n", "-U", "--immediate-mode", "-Z", "root"]);
        command.args(["-s", PACKET_BYTES, "-B", BUFFER_KIB, "-w"]);
        command.arg(&file).arg(format!("tcp or udp port {MARKER_PORT}"));
        let mut tcpdump = Process::spawn("tcpdump", command, lab.folder())?;
        tcpdump
            .wait_for_log("the start", LIMIT, |log| log.contains("listening on").then_some(()))?;
        Ok(Self { lab, tcpdump, file })
    }

    /// The packets that have been captured until now.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn so_far(&self) -> Result<Traffic> {
        Ok(Traffic { packets: split(&fs::read(&self.file)?)? })
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
    /// Fails unless there was traffic, without the magic and without the word `version`.
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

    /// Packets that hold the network's magic or the word `version`.
    pub fn plaintext(&self, network: Network) -> usize {
        let plain =
            |packet: &&Vec<u8>| contains(packet, &network.magic()) || contains(packet, b"version");
        self.packets.iter().filter(plain).count()
    }
}

/// The whole packets in a pcap file: a file header of 24 bytes, then each packet behind one of 16,
/// of which bytes 8..12 are its captured length in the machine's byte order.
fn split(file: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut rest = file.get(24..).unwrap_or_default();
    let mut packets = Vec::new();
    while let Some((header, body)) = rest.split_at_checked(16) {
        let &[_, _, _, _, _, _, _, _, a, b, c, d, ..] = header else { break };
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d]))?;
        let Some((packet, next)) = body.split_at_checked(length) else { break };
        packets.push(packet.to_vec());
        rest = next;
    }
    Ok(packets)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

const MARKER: &[u8] = b"bip324-test: end of capture";
/// The discard port.
const MARKER_PORT: u16 = 9;
/// Largest packet of a veth device with segmentation offload.
const PACKET_BYTES: &str = "65549";

/// The kernel sets aside the largest size for each packet: with tcpdump's own 2 MiB, 30 packets in
/// quick succession would already be too many.
const BUFFER_KIB: &str = "65536";

const LIMIT: Duration = Duration::from_secs(20);
