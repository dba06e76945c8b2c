//! What strangers say to the control socket, and how much of it: nothing that disturbs anybody.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bip324_control::{Answer, Code, Event, MAX_REQUEST, Refusal, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::{Controlled, Talker};
use crate::harness::*;

async fn assert_refused(talker: &mut Talker, code: Code, line: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(line).into_owned();
    match talker.next::<Answer>().await? {
        Answer::Error(refusal) if refusal.code == code && !refusal.message.is_empty() => Ok(()),
        other => bail!("{text:?}: {other:?}"),
    }
}

#[tokio::test]
async fn garbage_gets_an_error_and_nothing_else_happens() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let (mut client, mut peer) = controlled.daemon.open().await?;
    let mut talker = controlled.talk().await?;
    let deep = "[".repeat(MAX_REQUEST - 1);
    let lines: [&[u8]; 14] = [
        b"",
        b"\r",
        b"status",
        b"GET / HTTP/1.1\r",
        b"{}",
        b"[]",
        b"null",
        b"{\"request\":\"reboot\"}",
        b"{\"request\":\"status\",\"more\":1}",
        b"{\"request\":\"session\",\"id\":\"1\"}",
        b"{\"request\":\"subscribe\",\"interval\":99}",
        b"{\"request\":\"subscribe\",\"interval\":60001}",
        b"\xff\xfe\0\x01",
        deep.as_bytes(),
    ];
    for line in lines {
        talker.write(&[line, b"\n"].concat()).await?;
        assert_refused(&mut talker, Code::BadRequest, line).await?;
    }
    ensure!(talker.status().await?.sessions.v2 == 1);
    assert_served(&mut client, &mut peer).await
}

#[tokio::test]
async fn requests_may_come_in_any_pieces() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut talker = controlled.talk().await?;
    let two = b"{\"request\":\"version\"}\n{\"request\":\"log\"}\n";
    for byte in two {
        talker.write(&[*byte]).await?;
    }
    ensure!(matches!(talker.next().await?, Answer::Version(_)));
    ensure!(matches!(talker.next().await?, Answer::Log { .. }));
    talker.write(two).await?;
    ensure!(matches!(talker.next().await?, Answer::Version(_)));
    ensure!(matches!(talker.next().await?, Answer::Log { .. }));

    // The longest that there may be, and one without its newline at the end.
    let mut padded = vec![b' '; MAX_REQUEST - 1];
    padded[..20].copy_from_slice(b"{\"request\":\"status\"}");
    talker.write(&[padded.as_slice(), b"\n", b"{\"request\":\"log\"}"].concat()).await?;
    talker.0.shutdown().await?;
    ensure!(matches!(talker.next().await?, Answer::Status(_)));
    ensure!(matches!(talker.next().await?, Answer::Log { .. }));
    talker.assert_ended().await
}

#[tokio::test]
async fn a_request_that_is_too_long_ends_the_connection() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut talker = controlled.talk().await?;
    talker.write(&[b' '; MAX_REQUEST]).await?;
    assert_refused(&mut talker, Code::BadRequest, b"").await?;
    talker.assert_ended().await?;
    ensure!(controlled.talk().await?.status().await?.accepted == 0);
    Ok(())
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_the_others_stay() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut held = Vec::new();
    for (uid, most) in [(0, 16), (4711, 12), (4712, 12)] {
        let mut open = Vec::new();
        for _ in 0..most {
            let mut talker = controlled.talk_as(uid)?;
            talker.status().await?;
            open.push(talker);
        }
        let mut refused = controlled.talk_as(uid)?;
        assert_refused(&mut refused, Code::Busy, b"").await?;
        refused.assert_ended().await?;
        for talker in &mut open {
            talker.status().await?;
        }
        // A place is free again soon after somebody leaves.
        open.pop();
        let free = async {
            while controlled.talk_as(uid)?.status().await.is_err() {
                sleep(millis(5)).await;
            }
            anyhow::Ok(())
        };
        timeout(Duration::from_secs(10), free).await??;
        held.extend(open);
    }
    Ok(())
}

/// The clock jumps whenever everything waits: as for a reader that takes nothing for long.
#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_dropped() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut stuck = controlled.talk().await?;
    let request = b"{\"request\":\"status\"}\n".repeat(100);
    // Until the answers fill what the kernel holds for both.
    let write = async {
        loop {
            stuck.0.write_all(&request).await?;
        }
    };
    let broken: std::io::Result<()> = write.await;
    ensure!(broken.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe));
    ensure!(controlled.talk().await?.status().await?.panics == 0);
    Ok(())
}

#[tokio::test]
async fn requests_without_a_pause_are_answered_at_a_bounded_rate() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut talker = controlled.talk().await?;
    let start = std::time::Instant::now();
    talker.write(&b"{\"request\":\"version\"}\n".repeat(50)).await?;
    for _ in 0..50 {
        ensure!(matches!(talker.next().await?, Answer::Version(_)));
    }
    ensure!(start.elapsed() >= millis(490), "{:?}", start.elapsed());
    ensure!(matches!(talker.ask(&Request::Version {}).await?, Answer::Version(_)));
    Ok(())
}

/// The clock moves only while all wait: here for a place.
#[tokio::test(start_paused = true)]
async fn connections_without_a_pause_are_served_at_a_bounded_rate() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    for last in [&b"{\"request\":\"subscribe\"}\n"[..], &[b' '; MAX_REQUEST]] {
        let start = Instant::now();
        let mut served = 0;
        while served < 160 {
            ensure!(start.elapsed() < Duration::from_secs(60), "{served} in a minute");
            if is_served(&controlled, last).await {
                served += 1;
            } else {
                sleep(millis(1)).await;
            }
        }
        // Sixteen places, each free again after 10 ms.
        ensure!(start.elapsed() >= millis(90), "{:?}", start.elapsed());
    }
    Ok(())
}

/// Says it on a connection of its own, and whether there was a place for that.
async fn is_served(controlled: &Controlled, line: &[u8]) -> bool {
    let ask = async {
        let mut talker = controlled.talk().await?;
        talker.write(line).await?;
        talker.next::<Answer>().await
    };
    !matches!(ask.await, Err(_) | Ok(Answer::Error(Refusal { code: Code::Busy, .. })))
}

/// Not even a piece of a request keeps its place; a subscription does.
#[tokio::test(start_paused = true)]
async fn who_asks_nothing_for_a_minute_is_let_go() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let start = Instant::now();
    let (mut silent, mut slow) = (controlled.talk().await?, controlled.talk().await?);
    let mut subscriber = controlled.talk().await?;
    let subscribe = Request::Subscribe { interval: None };
    ensure!(matches!(subscriber.ask(&subscribe).await?, Answer::Subscribed { .. }));
    slow.write(b"{\"request\":").await?;
    for talker in [&mut silent, &mut slow] {
        ensure!(talker.0.read(&mut [0; 1]).await? == 0, "something was said");
        ensure!((60..61).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
    sleep(Duration::from_secs(30)).await;
    for _ in 0..90 {
        ensure!(matches!(subscriber.next().await?, Event::Traffic { .. }));
    }
    Ok(())
}
