//! A capture for as long as a machine under test lives, through all of its reboots: it looks at every
//! packet as it passes, and keeps none.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::capture::{self, Header};
use crate::hammer::CLASS;
use crate::namespace::Family;
use crate::node::Network;
use crate::plaintext;

/// A running tcpdump and the thread that reads from it.
#[derive(Debug)]
pub struct Wiretap {
    tcpdump: Child,
    listener: JoinHandle<Result<()>>,
    heard: Receiver<Heard>,
}

/// What passed between two marks, in TCP packets of either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// TCP packets.
    pub packets: u64,
    /// Those that open a connection.
    pub dials: u64,
    /// TCP payload, in bytes, of packets with v1 in them.
    pub plaintext: u64,
    /// Packets that a client's socket sent itself, whatever is in them.
    pub escaped: u64,
    /// As `plaintext`, but to and from the control peers, which none but plain clients connect to:
    /// it proves that plaintext is seen.
    pub control: u64,
}

impl Wiretap {
    /// Listens on `interface`. Traffic with `controls` is counted on its own.
    ///
    /// # Errors
    ///
    /// Where tcpdump does not start.
    pub fn start(interface: &str, controls: Vec<IpAddr>) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        command.args(["-i", interface, "-n", "-U", "--immediate-mode", "-Z", "root"]);
        command.args(["-s", "65549", "-B", "65536", "-w", "-"]);
        command.arg(format!("tcp or udp port {}", capture::MARKER_PORT));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tcpdump = command.spawn().context("tcpdump: run ./scripts/get base")?;
        let mut packets = BufReader::new(tcpdump.stdout.take().context("no output")?);
        // It writes the file's header once it listens.
        packets.read_exact(&mut [0; 24]).context("tcpdump does not start")?;
        let (sender, heard) = channel();
        let listener = thread::spawn(move || listen(packets, &controls, &sender));
        Ok(Self { tcpdump, listener, heard })
    }

    /// What has passed since the last mark. Sends a packet along the wire and waits until it is seen:
    /// whatever was there before it is counted.
    ///
    /// # Errors
    ///
    /// Where that packet is not seen: then others may have been missed.
    pub fn mark(&self) -> Result<Heard> {
        let socket = UdpSocket::bind((Family::V4.peer(), 0))?;
        socket.set_broadcast(true)?;
        // To everybody: nobody has to be there to answer ARP.
        socket.send_to(capture::MARKER, (Family::V4.address(255), capture::MARKER_PORT))?;
        self.heard.recv_timeout(LIMIT).context("the capture missed the marker")
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// Where a packet escaped it.
    pub fn stop(self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.tcpdump.id())?), Signal::SIGINT)?;
        self.listener.join().ok().context("the wiretap panicked")??;
        let said = String::from_utf8(self.tcpdump.wait_with_output()?.stderr)?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "tcpdump lost packets: {said}");
        Ok(())
    }
}

/// Starts a wiretap and answers each line of `input` with what was heard since the last one.
///
/// # Errors
///
/// As [`Wiretap::start`], [`Wiretap::mark`] and [`Wiretap::stop`].
pub fn answer(
    interface: &str,
    controls: Vec<IpAddr>,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<()> {
    let wiretap = Wiretap::start(interface, controls)?;
    for line in input.lines() {
        line?;
        let Heard { packets, dials, plaintext, escaped, control } = wiretap.mark()?;
        writeln!(output, "{packets} {dials} {plaintext} {escaped} {control}")?;
        output.flush()?;
    }
    wiretap.stop()
}

/// Reads packets, each behind a header of 16 bytes of which 8..12 are its length, until tcpdump ends.
fn listen(
    mut packets: BufReader<ChildStdout>,
    controls: &[IpAddr],
    marks: &Sender<Heard>,
) -> Result<()> {
    let (mut heard, mut header, mut packet) = (Heard::default(), [0; 16], Vec::new());
    while packets.read_exact(&mut header).is_ok() {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = header;
        packet.resize(usize::try_from(u32::from_ne_bytes([a, b, c, d]))?, 0);
        packets.read_exact(&mut packet)?;
        if memchr::memmem::find(&packet, capture::MARKER).is_some() {
            // Nobody waits where the end came first.
            let _ = marks.send(std::mem::take(&mut heard));
        } else if let Some(header) = capture::header(&packet) {
            heard.count(&packet, &header, controls);
        }
    }
    Ok(())
}

impl Heard {
    fn count(&mut self, packet: &[u8], header: &Header, controls: &[IpAddr]) {
        let control = controls.contains(&header.to) || controls.contains(&header.from);
        let found = plaintext::find(packet, Network::Regtest);
        // The lower two bits of the class are the network's.
        let escaped = (header.class ^ CLASS) & 0xFC == 0;
        self.packets += 1;
        self.dials += u64::from(header.opens);
        match (control, found, escaped) {
            (_, None, false) => {}
            (true, ..) => self.control += header.payload as u64,
            (false, ..) => {
                self.escaped += u64::from(escaped);
                self.plaintext += header.payload as u64;
                if self.plaintext < SHOWN {
                    show(packet, header, found);
                }
            }
        }
    }
}

fn show(packet: &[u8], header: &Header, found: Option<usize>) {
    let begin = found.unwrap_or_else(|| packet.len().saturating_sub(header.payload));
    let text = packet.get(begin..).unwrap_or_default().iter().take(48);
    let text: String = text.flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    eprintln!("{} -> {}: {} bytes, {text}", header.from, header.to, header.payload);
}

/// Bytes of plaintext after which no more of it is printed, until the next mark.
const SHOWN: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(20);
