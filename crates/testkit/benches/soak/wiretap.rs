//! Looks for plaintext in every packet that leaves the host, as it passes, and keeps none.

use std::io::{BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use bip324_testkit::capture::{BUFFER_KIB, PACKET_BYTES};
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::WIRE;
use bip324_testkit::plaintext;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::NETWORK;

/// A running tcpdump and the thread that reads from it.
pub(crate) struct Wiretap {
    tcpdump: Child,
    listener: JoinHandle<Result<Heard>>,
}

/// What left the host. Peers of the mix that answer in v1 do not count.
#[derive(Default)]
pub(crate) struct Heard {
    /// TCP packets.
    pub packets: u64,
    /// What they hold, headers included.
    pub(crate) bytes: u64,
    /// Those with v1 in them.
    pub plaintext: u64,
}

impl Wiretap {
    /// Listens at the host's end of the wire.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let mut command = lab.host.command("tcpdump");
        command.args(["-i", WIRE, "-n", "-U", "--immediate-mode", "-Z", "root"]);
        command.args(["-Q", "out", "-s", &PACKET_BYTES.to_string(), "-B", BUFFER_KIB]);
        command.args(["-w", "-", "tcp"]);
        let mut tcpdump = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut packets = BufReader::new(tcpdump.stdout.take().context("no output")?);
        // It writes the file's header once it listens.
        packets.read_exact(&mut [0; 24]).context("tcpdump does not start")?;
        Ok(Self { tcpdump, listener: thread::spawn(move || listen(packets)) })
    }

    /// Ends it. Fails if a packet escaped it.
    pub(crate) fn stop(self) -> Result<Heard> {
        kill(Pid::from_raw(i32::try_from(self.tcpdump.id())?), Signal::SIGINT)?;
        let heard = self.listener.join().ok().context("the wiretap panicked")??;
        let said = String::from_utf8(self.tcpdump.wait_with_output()?.stderr)?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "tcpdump lost packets: {said}");
        Ok(heard)
    }
}

/// Reads packets, each behind a header of 16 bytes of which 8..12 are its length, until tcpdump ends.
fn listen(mut packets: BufReader<ChildStdout>) -> Result<Heard> {
    let (mut heard, mut header, mut packet) = (Heard::default(), [0; 16], Vec::new());
    while packets.read_exact(&mut header).is_ok() {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = header;
        packet.resize(usize::try_from(u32::from_ne_bytes([a, b, c, d]))?, 0);
        packets.read_exact(&mut packet)?;
        heard.packets += 1;
        heard.bytes += packet.len() as u64;
        if let Some(at) = plaintext::find(&packet, NETWORK) {
            heard.plaintext += 1;
            let end = packet.get(at..).unwrap_or_default();
            println!("PLAINTEXT at {at} of {}: {:02x?}", packet.len(), end.iter().take(32));
        }
    }
    Ok(heard)
}
