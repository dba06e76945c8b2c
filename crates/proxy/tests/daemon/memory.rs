//! What hostile input costs: memory of the real program, and no session but its own.

use anyhow::{Context, Result, ensure};
use bip324_testkit::peer::{Session, Wire};
use bip324_transport::limits::{MAX_CONTENTS, MAX_PAYLOAD};

use crate::harness::*;
use crate::program::Program;

/// What a hostile client and peer do to each other's session.
enum Attack {
    /// The client announces a v1 message of this length.
    ClientAnnounces(u32),
    /// The client's VERSION announces this length.
    VersionAnnounces(u32),
    /// The peer announces a packet of this length in the handshake.
    PeerAnnouncesEarly(usize),
    /// The peer announces a packet of this length in an established session.
    PeerAnnounces(usize),
    /// The peer never stops to send garbage.
    Garbage,
    /// The peer never stops to send decoys before its version packet.
    EarlyDecoys,
    /// The peer sends nothing but decoys in an established session.
    Decoys,
}

impl Attack {
    /// Carries it out, up to the end of the session where it must come at once.
    async fn run(&self, program: &Program) -> Result<()> {
        match *self {
            Self::ClientAnnounces(length) => {
                let (mut client, _session) = program.open().await?;
                client.write(&header_announcing("block", length)).await?;
                refused_unless(length as usize <= MAX_PAYLOAD, &mut client).await
            }
            Self::VersionAnnounces(length) => {
                let mut client = program.connect().await?;
                client.write(&header_announcing("version", length)).await?;
                assert_refused(&mut client).await
            }
            Self::PeerAnnouncesEarly(length) => {
                let (mut client, mut session) = program.meet().await?;
                let announced = session.seal.length(length);
                let bytes = [&session.key[..], &session.terminator, &announced].concat();
                session.wire.write(&bytes).await?;
                refused_unless(length <= MAX_CONTENTS, &mut client).await
            }
            Self::PeerAnnounces(length) => {
                let (mut client, mut session) = program.open().await?;
                let announced = session.seal.length(length);
                session.wire.write(&announced).await?;
                refused_unless(length <= MAX_CONTENTS, &mut client).await
            }
            Self::Garbage => {
                let (mut client, mut session) = program.meet().await?;
                let mut taken = 0;
                while session.wire.write(&[0xAA; 65536]).await.is_ok() {
                    taken += 65536;
                    ensure!(taken < 64 << 20, "64 MiB of garbage were taken");
                }
                assert_refused(&mut client).await
            }
            Self::EarlyDecoys => {
                let (_client, mut session) = program.meet().await?;
                session.wire.write(&[&session.key[..], &session.terminator].concat()).await?;
                send_decoys(&mut session).await
            }
            Self::Decoys => {
                let (mut client, mut session) = program.open().await?;
                send_decoys(&mut session).await?;
                assert_served(&mut client, &mut session).await
            }
        }
    }
}

fn header_announcing(name: &str, length: u32) -> Vec<u8> {
    let mut header = message(name, &[]);
    header[16..20].copy_from_slice(&length.to_le_bytes());
    header
}

/// A legal length does not end the session: what counts then is what has been allocated for it.
async fn refused_unless(legal: bool, client: &mut Wire) -> Result<()> {
    if legal { Ok(()) } else { assert_refused(client).await }
}

/// 20 MB of them.
async fn send_decoys(session: &mut Session) -> Result<()> {
    for _ in 0..5000 {
        let decoy = session.seal.packet(0x80, &[0; 4000]);
        session.wire.write(&decoy).await?;
    }
    Ok(())
}

#[tokio::test]
async fn g2_hostile_input_costs_less_than_a_mebibyte_and_its_own_session_alone() -> Result<()> {
    let program = Program::start()?;
    let (mut client, mut session) = program.open().await?;
    program.warm_up().await?;
    let attacks = [
        Attack::ClientAnnounces(u32::MAX),
        Attack::ClientAnnounces(4_000_001),
        Attack::ClientAnnounces(4_000_000),
        Attack::VersionAnnounces(u32::MAX),
        Attack::PeerAnnouncesEarly((1 << 24) - 1),
        Attack::PeerAnnouncesEarly(MAX_CONTENTS),
        Attack::PeerAnnounces((1 << 24) - 1),
        Attack::PeerAnnounces(MAX_CONTENTS),
        Attack::Garbage,
        Attack::EarlyDecoys,
        Attack::Decoys,
    ];
    for (number, attack) in attacks.iter().enumerate() {
        let before = program.start_memory_watch()?;
        attack.run(&program).await.with_context(|| format!("attack {number}"))?;
        assert_served(&mut client, &mut session).await?;
        let more = program.peak_memory()?.saturating_sub(before);
        ensure!(more < 1024, "attack {number} took {more} KiB");
    }
    Ok(())
}

#[tokio::test]
async fn g2_memory_follows_the_bytes_received() -> Result<()> {
    let program = Program::start()?;
    let (mut client, mut session) = program.open().await?;
    program.warm_up().await?;
    let before = program.start_memory_watch()?;
    // The control: a message that does arrive is seen in the figures.
    let block = vec![0; MAX_PAYLOAD];
    let (sent, arrived) =
        tokio::join!(session.send_message("block", &block), client.message(MAGIC));
    sent?;
    arrived?;
    let more = program.peak_memory()?.saturating_sub(before);
    ensure!((4000..20_000).contains(&more), "a message of 4 MB took {more} KiB");
    Ok(())
}

#[tokio::test]
async fn g2_nothing_is_allocated_for_what_is_only_announced() -> Result<()> {
    let program = Program::start()?;
    program.warm_up().await?;
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(program.open().await?);
    }
    let before = program.allocated_memory()?;
    for (client, session) in &mut sessions {
        let announced = session.seal.length(MAX_CONTENTS);
        session.wire.write(&announced).await?;
        client.write(&header_announcing("block", 4_000_000)).await?;
    }
    // The daemon makes room when there is something to read, and gives it back when idle.
    let mut most = 0;
    for _ in 0..50 {
        for (client, session) in &mut sessions {
            client.write(&[0; 100]).await?;
            session.wire.write(&[0; 100]).await?;
            most = most.max(program.allocated_memory()?);
        }
    }
    let more = most.saturating_sub(before);
    // Each direction may read 256 KiB ahead of what has arrived.
    ensure!(more < SESSIONS * 2 * 300, "{SESSIONS} sessions took {more} KiB");
    Ok(())
}

const SESSIONS: u64 = 20;
