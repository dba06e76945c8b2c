//! What happens to the messages of an established session.

use anyhow::{Result, ensure};
use bip324_proxy::Config;
use bip324_testkit::peer::long_form;
use bip324_transport::limits::MAX_PAYLOAD;

use crate::harness::*;

#[tokio::test]
async fn b9_messages_arrive_unchanged_and_in_order_whatever_the_segments() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    let names = ["inv", "tx", "sendheaders", "block", "verack", "fromthefutur", "addrv2"];
    let messages: Vec<_> =
        (0..400).map(|n| (names[n % names.len()], vec![n.to_le_bytes()[0]; n * n % 977])).collect();
    let stream: Vec<u8> =
        messages.iter().flat_map(|(name, payload)| message(name, payload)).collect();
    let packets: Vec<u8> = messages
        .iter()
        .flat_map(|(name, payload)| session.seal.packet(0, &long_form(name, payload).unwrap()))
        .collect();

    let mut rest = stream.as_slice();
    for (number, (name, payload)) in messages.iter().enumerate() {
        let length = 24 + payload.len();
        let (now, later) = rest.split_at(length);
        for piece in now.chunks(number % 61 + 1) {
            client.write(piece).await?;
        }
        rest = later;
        ensure!(session.message().await? == (command(name), payload.clone()), "{number}");
    }
    session.wire.write(&packets).await?;
    ensure!(client.read(stream.len()).await? == stream);
    Ok(())
}

#[tokio::test]
async fn b8_a_wrong_checksum_is_dropped_and_the_session_kept() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    let mut damaged = message("inv", b"damaged");
    *damaged.last_mut().unwrap() ^= 1;
    let mut padding = message("blocktxn", b"odd padding");
    padding[15] = b'a';
    client.write(&[damaged, padding, message("inv", b"whole")].concat()).await?;
    ensure!(session.message().await? == (command("inv"), b"whole".to_vec()));
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn b6_a_message_that_is_too_long_ends_the_session_unread() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for length in [MAX_PAYLOAD + 1, u32::MAX as usize] {
        let (mut client, mut session) = daemon.open().await?;
        let mut header = message("block", &[])[..24].to_vec();
        header[16..20].copy_from_slice(&u32::try_from(length)?.to_le_bytes());
        client.write(&[message("inv", b"good"), header].concat()).await?;
        assert_refused(&mut client).await?;
        ensure!(session.message().await? == (command("inv"), b"good".to_vec()));
        ensure!(session.wire.rest().await?.0.is_empty(), "part of the long message went out");
    }
    Ok(())
}

#[tokio::test]
async fn b10_the_user_agent_suffix_reaches_the_peer() -> Result<()> {
    let daemon = Daemon::start(Config { user_agent_suffix: true, ..Config::default() }).await?;
    let anywhere = "0.0.0.0:0".parse()?;
    for (sent, expected) in [
        ("/light:1.0/", "/light:1.0/bip324-proxy:0.1/"),
        ("Kyoto Light Client / 0.15 /", "Kyoto Light Client / 0.15 /"),
    ] {
        let node = daemon.node().await?;
        let mut client = daemon.connect(&node).await?;
        client.write(&message("version", &version_to(anywhere, sent))).await?;
        let mut session = node.session(MAGIC).await?;
        let arrived = session.message().await?;
        ensure!(arrived == (command("version"), version_to(anywhere, expected)), "{sent}");
        // Later messages are none of its business.
        pass_to_peer(&mut client, &mut session).await?;
    }
    Ok(())
}

#[tokio::test]
async fn b10_without_it_the_version_is_untouched() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    // `open` compares every byte of it.
    let (mut client, mut session) = daemon.open().await?;
    assert_served(&mut client, &mut session).await
}
