//! Metrics, asked for over HTTP as Prometheus does, and as others may try.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bip324_config::Metrics;
use bip324_control::{ByKind, Flow, Status};
use bip324_proxy::metrics;
use bip324_proxy::stats::Reason;
use bip324_testkit::peer::{PATIENCE, within};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

use crate::harness::*;
use crate::program::{Folder, Program};

/// What a scrape tells: each series with its labels, and its value.
type Series = BTreeMap<String, f64>;

/// Sends `request` and returns the head and the body of what comes.
async fn ask(stream: impl AsyncRead + AsyncWrite, request: &str) -> Result<(String, String)> {
    let mut stream = std::pin::pin!(stream);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    Ok((head.to_owned(), body.to_owned()))
}

async fn scrape(stream: impl AsyncRead + AsyncWrite) -> Result<String> {
    let (head, body) = ask(stream, &get("127.0.0.1:1325")).await?;
    ensure!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ensure!(head.contains(&format!("\r\nContent-Type: {openmetrics}\r\n")), "{head}");
    ensure!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    ensure!(head.ends_with("\r\nConnection: close"), "{head}");
    ensure!(body.ends_with("\n# EOF\n") && body.matches("# EOF").count() == 1, "{body}");
    Ok(body)
}

/// The first scrape that is what the status says, which may be a second after that came about.
async fn scrape_as_it_is(daemon: &Daemon, address: SocketAddr) -> Result<(Status, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = scrape(TcpStream::connect(address).await?).await?;
        let (series, status) = (series(&text)?, daemon.overview().status());
        let expected = expected(&status);
        let is_other = |(name, value): &&(String, u64)| series.get(name) != Some(&(*value as f64));
        let Some((name, value)) = expected.iter().find(is_other) else {
            return Ok((status, text));
        };
        ensure!(Instant::now() < deadline, "{name}: {:?} is not {value}", series.get(name));
        sleep(millis(20)).await;
    }
}

fn get(host: &str) -> String {
    format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n")
}

fn series(text: &str) -> Result<Series> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let one = |line: &str| {
        let (name, value) = line.rsplit_once(' ').context("no value")?;
        Ok((name.to_owned(), value.parse()?))
    };
    lines.map(one).collect()
}

/// The daemon's metrics, on a free port, where each connection is another user's.
fn serve(daemon: &Daemon) -> Result<SocketAddr> {
    serve_with(daemon, |client| client.port().into(), |_| Ok(()))
}

/// Where `owner_of` tells whose a connection is, and `prepare` has the listener.
fn serve_with(
    daemon: &Daemon,
    owner_of: fn(SocketAddr) -> u32,
    prepare: fn(SockRef<'_>) -> std::io::Result<()>,
) -> Result<SocketAddr> {
    let listener = metrics::open(&"127.0.0.1:0".parse()?)?.context("no listener")?;
    let metrics::Listener::Tcp(tcp) = &listener else { anyhow::bail!("{listener:?}") };
    prepare(SockRef::from(tcp))?;
    let address = tcp.local_addr()?;
    let owner_of = Arc::new(move |client, _| Some(owner_of(client)));
    tokio::spawn(metrics::serve(listener, daemon.overview(), owner_of));
    Ok(address)
}

/// For tests in which each address is a user.
fn by_address(client: SocketAddr) -> u32 {
    let SocketAddr::V4(client) = client else { panic!("{client}") };
    client.ip().to_bits()
}

/// A connection of the user 127.0.0.`host`, who takes what is sent in crumbs.
async fn connect_as(host: u8, address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(1)?;
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
    Ok(within("the metrics to listen", socket.connect(address)).await??)
}

/// What the status says, as series.
fn expected(status: &Status) -> Vec<(String, u64)> {
    let ByKind { v2, passthrough, fallback } = status.sessions;
    let mut expected = vec![
        ("bip324_sessions{kind=\"v2\"}".to_owned(), v2),
        ("bip324_sessions{kind=\"passthrough\"}".to_owned(), passthrough),
        ("bip324_sessions{kind=\"fallback\"}".to_owned(), fallback),
        ("bip324_sessions_limit".to_owned(), status.limits.max_sessions),
        ("bip324_fallbacks_total".to_owned(), status.served.fallback),
        ("bip324_possible_downgrades_total".to_owned(), 0),
        ("bip324_connections_accepted_total".to_owned(), status.accepted),
        ("bip324_canaries_total".to_owned(), status.canaries),
        ("bip324_session_panics_total".to_owned(), status.panics),
        ("bip324_accept_failures_total".to_owned(), status.accept_failures),
        ("bip324_accept_backoffs_total".to_owned(), 0),
        ("bip324_handshake_seconds_count".to_owned(), status.handshakes.count),
        ("bip324_handshake_seconds_bucket{le=\"+Inf\"}".to_owned(), status.handshakes.count),
        ("bip324_memory_bytes".to_owned(), status.memory),
        ("bip324_memory_limit_bytes".to_owned(), status.limits.max_memory),
    ];
    for reason in Reason::ALL {
        let count = status.refused.get(reason.name()).copied().unwrap_or(0);
        expected.push((format!("bip324_refusals_total{{reason=\"{}\"}}", reason.name()), count));
    }
    let traffic = &status.traffic;
    for (kind, direction, Flow { client_bytes, peer_bytes, .. }) in [
        ("v2", "to_peer", &traffic.v2_to_peer),
        ("v2", "to_client", &traffic.v2_to_client),
        ("spliced", "to_peer", &traffic.spliced_to_peer),
        ("spliced", "to_client", &traffic.spliced_to_client),
    ] {
        let labels = format!("kind=\"{kind}\",direction=\"{direction}\"");
        for (side, bytes) in [("client", client_bytes), ("peer", peer_bytes)] {
            expected
                .push((format!("bip324_traffic_bytes_total{{{labels},side=\"{side}\"}}"), *bytes));
        }
    }
    for (direction, types) in
        [("to_peer", &traffic.types_to_peer), ("to_client", &traffic.types_to_client)]
    {
        assert!(!types.is_empty());
        for count in types {
            let labels = format!("direction=\"{direction}\",type=\"{}\"", count.name);
            expected.push((format!("bip324_messages_total{{{labels}}}"), count.messages));
            for (side, bytes) in [("client", count.client_bytes), ("peer", count.peer_bytes)] {
                let name = format!("bip324_message_bytes_total{{{labels},side=\"{side}\"}}");
                expected.push((name, bytes));
            }
        }
    }
    expected
}

#[tokio::test]
async fn metrics_are_what_the_statistics_say_after_real_traffic() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let address = serve(&daemon)?;
    let idle = series(&scrape(TcpStream::connect(address).await?).await?)?;
    ensure!(idle["bip324_sessions{kind=\"v2\"}"] == 0.0);
    ensure!(idle["bip324_refusals_total{reason=\"downgrade\"}"] == 0.0);

    let (mut client, mut session) = daemon.open().await?;
    for _ in 0..3 {
        assert_served(&mut client, &mut session).await?;
    }
    drop(daemon.open().await?);
    let mut refused = daemon.connect(&daemon.node().await?).await?;
    refused.write(&message("verack", &[])).await?;
    assert_refused(&mut refused).await?;
    eventually("the second session to end", || daemon.stats.sessions().len() == 1).await?;

    let (status, text) = scrape_as_it_is(&daemon, address).await?;
    let series = series(&text)?;
    let of = |name: &str| *series.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    ensure!(of("bip324_sessions{kind=\"v2\"}") == 1.0);
    ensure!(of("bip324_sessions_established_total{kind=\"v2\"}") == 2.0);
    ensure!(of("bip324_messages_total{direction=\"to_peer\",type=\"pong\"}") == 3.0);
    ensure!(of("bip324_refusals_total{reason=\"not_version\"}") == 1.0);

    ensure!(of("bip324_handshake_seconds_sum") * 1e6 - (status.handshakes.sum as f64) < 1.0);
    let build = format!("bip324_build_info{{version=\"{}\"}}", status.version);
    ensure!(of(&build) == 1.0);
    for secret in [session.id.to_string(), client.stream.local_addr()?.port().to_string()] {
        ensure!(!text.contains(&secret), "{secret} is in\n{text}");
    }
    ensure!(!text.contains("8.8.4."), "{text}");
    Ok(())
}

#[tokio::test]
async fn every_family_is_documented() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (_client, _session) = daemon.open().await?;
    let text = scrape(TcpStream::connect(serve(&daemon)?).await?).await?;
    let documents = include_str!("../../../../docs/METRICS.md");
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let found: Vec<_> = families.map(|(name, kind)| format!("| `{name}` | {kind} |")).collect();
    for family in &found {
        ensure!(documents.contains(family), "docs/METRICS.md lacks {family}");
    }
    let told = documents.lines().filter(|line| line.starts_with("| `bip324_")).count();
    ensure!(told == found.len(), "{told} in docs/METRICS.md, {} in truth", found.len());
    Ok(())
}

#[tokio::test]
async fn whoever_asks_otherwise_is_told_why_not() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let address = serve(&daemon)?;
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(9000));
    let random: String = ('\u{80}'..'\u{400}').chain(['\r', '\n', '\r', '\n']).collect();
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "405 "),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "404 "),
        (&get("evil.example:1325"), "403 "),
        ("GET /metrics HTTP/1.1\r\n\r\n", "400 "),
        ("\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03\r\n\r\n", "400 "),
        (&long, "400 "),
        (&random, "400 "),
        ("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "200 "),
    ] {
        let (head, body) = ask(TcpStream::connect(address).await?, request).await?;
        ensure!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {head}");
        ensure!(head.contains("405") == head.contains("\r\nAllow: GET, HEAD\r\n"), "{head}");
        ensure!(!body.contains("bip324_"), "{request:?}: {body}");
    }
    scrape(TcpStream::connect(address).await?).await.map(drop)
}

/// Every place is one's who does not ask, or asks without an end, or does not read: all are let go in
/// time, sessions do not notice, and whoever asks as one should is served in turn.
#[tokio::test]
async fn who_never_asks_or_never_reads_is_let_go() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    // As little as the kernel allows, so that an answer does not wait there as a whole.
    let small = |listener: SockRef<'_>| listener.set_send_buffer_size(1);
    let address = serve_with(&daemon, by_address, small)?;
    let (mut client, mut session) = daemon.open().await?;
    let start = Instant::now();
    let mut silent = connect_as(2, address).await?;
    let mut slow = connect_as(2, address).await?;
    slow.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await?;
    let mut deaf = Vec::new();
    for host in [3, 3, 4, 4, 5, 5] {
        let mut stream = connect_as(host, address).await?;
        stream.write_all(get("localhost").as_bytes()).await?;
        deaf.push(stream);
    }
    assert_served(&mut client, &mut session).await?;
    for stream in [&mut silent, &mut slow] {
        let ended = within("the end", stream.read(&mut [0; 64])).await?;
        ensure!(ended.is_err() || ended? == 0, "it was answered");
    }
    ensure!(start.elapsed() >= millis(900), "{:?}", start.elapsed());
    // Two more in their place, so that only one who was deaf leaves room.
    for _ in 0..2 {
        let mut stream = connect_as(2, address).await?;
        stream.write_all(get("localhost").as_bytes()).await?;
        deaf.push(stream);
    }
    let mut other = connect_as(6, address).await?;
    other.write_all(get("localhost").as_bytes()).await?;
    let mut first = vec![0; 12];
    within("a scrape after them", other.read_exact(&mut first)).await??;
    ensure!(first == b"HTTP/1.1 200", "{first:?}");
    ensure!(start.elapsed() >= millis(1900), "{:?}", start.elapsed());
    let mut rest = Vec::new();
    within("the rest of it", other.read_to_end(&mut rest)).await??;
    ensure!(rest.ends_with(b"# EOF\n"));
    // They were stuck, or this would be no test: the first of them was sent a part alone.
    let mut part = Vec::new();
    let _ = within("its end", deaf[0].read_to_end(&mut part)).await?;
    ensure!(!part.ends_with(b"# EOF\n"), "its answer was sent as a whole, {} bytes", part.len());
    assert_served(&mut client, &mut session).await
}

/// Of a user two connections are served at a time, and each takes a moment; all others are told so, and
/// another user notices nothing.
#[tokio::test]
async fn one_user_s_connections_leave_the_others_theirs() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let address = serve_with(&daemon, by_address, |_| Ok(()))?;
    let (mut idle, start) = (Vec::new(), Instant::now());
    for _ in 0..2 {
        idle.push(connect_as(2, address).await?);
    }
    for _ in 0..40 {
        let mut stream = connect_as(2, address).await?;
        let mut answer = String::new();
        within("the refusal", stream.read_to_string(&mut answer)).await??;
        ensure!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        ensure!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
        idle.push(stream);
    }
    scrape(connect_as(3, address).await?).await?;
    ensure!(start.elapsed() < millis(1000), "the idle ones were let go, {:?}", start.elapsed());
    scrape(connect_as(3, address).await?).await?;
    let third = ask(connect_as(3, address).await?, &get("localhost")).await?.0;
    ensure!(third.starts_with("HTTP/1.1 503 "), "no pace: {third}");
    Ok(())
}

#[tokio::test]
async fn the_program_serves_metrics_from_within_its_sandbox() -> Result<()> {
    let program = Program::start_with(&["--metrics", "127.0.0.1:0"])?;
    let log = program.process.log()?;
    let url = log.split("metrics at http://").nth(1).context("no metrics in the log")?;
    let address = url.split('/').next().context("no address")?.to_owned();
    let (mut client, mut session) = program.open().await?;
    assert_served(&mut client, &mut session).await?;
    let series = series(&scrape(TcpStream::connect(address).await?).await?)?;
    ensure!(series["bip324_sessions{kind=\"v2\"}"] == 1.0, "{series:#?}");
    Ok(())
}

#[tokio::test]
async fn the_program_serves_metrics_at_a_path_for_its_group() -> Result<()> {
    let folder = Folder::new()?;
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o777))?;
    let path = folder.0.join("metrics.sock");
    let place = Metrics::Unix(path.clone()).to_string();
    for _ in 0..2 {
        let program = Program::start_with(&["--metrics", &place])?;
        let mode = std::fs::metadata(&path)?.permissions().mode();
        ensure!(mode & 0o777 == 0o660, "{mode:o}");
        let (head, body) = ask(UnixStream::connect(&path).await?, &get("any.example")).await?;
        ensure!(head.starts_with("HTTP/1.1 200 OK\r\n") && body.ends_with("# EOF\n"), "{head}");

        let output = program.command().args(["--metrics", &place]).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(69), "{}: {said}", output.status);
        ensure!(said.contains("another program listens there"), "{said}");
        // Killed, it leaves its socket to the next one.
    }
    Ok(())
}

#[tokio::test]
async fn metrics_for_others_than_this_host_are_refused() -> Result<()> {
    let program = Program::start()?;
    for address in ["0.0.0.0:1325", "[::]:1325", "192.0.2.1:1325"] {
        let output = program.command().args(["--metrics", address]).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(64), "{}: {said}", output.status);
        ensure!(said.contains("not an address of this host alone"), "{said}");
    }
    Ok(())
}
