//! As much of HTTP/1.1 as one resource takes: one request a connection.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Whom a request may mean by its Host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// A loopback address or localhost: a web page whose name leads here (DNS rebinding) is told nothing.
    OfThisHost,
    /// No browser gets to where this is allowed.
    Any,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The metrics; without their text if only the header was asked for.
    Metrics {
        text: bool,
    },
    BadRequest,
    OtherHost,
    NotFound,
    NotAllowed,
    Busy,
}

/// Reads the head of one request, or as much of it as comes and is not too long.
pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        // What was there before holds no end, but it may hold the beginning of one.
        let from = request.len().saturating_sub(END.len() - 1);
        let mut more = (&mut *stream).take((LONGEST_REQUEST - request.len()) as u64);
        // Into the vector's spare room, which it makes: 32 bytes at first.
        let count = more.read_buf(&mut request).await?;
        let new = request.get(from..).unwrap_or_default();
        if count == 0 || new.windows(END.len()).any(|window| window == END) {
            return Ok(request);
        }
    }
}

/// Answers `request` with `text`, or why not, and closes.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &[u8],
    hosts: Hosts,
    text: impl FnOnce() -> Arc<str>,
) -> io::Result<()> {
    if request.is_empty() {
        return Ok(());
    }
    stream.write_all(response(outcome(request, hosts), text).as_bytes()).await?;
    stream.shutdown().await?;
    // What was not read, such as a body, would make the kernel reset the connection, and the answer
    // with it.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// To one who has as many connections as a user may. Waits for nothing: a new connection takes it at
/// once or not at all.
pub(super) fn refuse(stream: &impl AsFd) {
    let mut socket = &*SockRef::from(stream);
    // What is there and not read would reset the connection, see above.
    let _ = socket.read(&mut [0; LONGEST_REQUEST]);
    let _ = socket.write(response(Outcome::Busy, || "".into()).as_bytes());
}

fn outcome(request: &[u8], hosts: Hosts) -> Outcome {
    let Some((method, target, host)) = parse(request) else {
        return Outcome::BadRequest;
    };
    if hosts == Hosts::OfThisHost && !is_this_host(host) {
        return Outcome::OtherHost;
    }
    match (target.split('?').next(), method) {
        (Some("/metrics"), "GET") => Outcome::Metrics { text: true },
        (Some("/metrics"), "HEAD") => Outcome::Metrics { text: false },
        (Some("/metrics"), _) => Outcome::NotAllowed,
        _ => Outcome::NotFound,
    }
}

/// Method, target and Host of a request that RFC 9112 would let pass; its body is nobody's concern.
fn parse(request: &[u8]) -> Option<(&str, &str, &str)> {
    let end = request.windows(END.len()).position(|window| window == END)?;
    let head = std::str::from_utf8(request.get(..end)?).ok()?;
    if head.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t')) {
        return None;
    }
    let mut lines = head.split("\r\n");
    let mut parts = lines.next()?.split(' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let known = matches!(version, "HTTP/1.1" | "HTTP/1.0") && parts.next().is_none();
    if !known || method.is_empty() || !method.chars().all(is_token) || !target.starts_with('/') {
        return None;
    }
    let mut hosts = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.is_empty() || !name.chars().all(is_token) || value.contains(['\r', '\n']) {
            return None;
        }
        if name.eq_ignore_ascii_case("host") {
            hosts.push(value.trim());
        }
    }
    match hosts.as_slice() {
        [host] => Some((method, target, host)),
        _ => None,
    }
}

const fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '!'..='\'' | '*' | '+' | '-' | '.' | '^'..='`' | '|' | '~')
}

/// With any port: somebody may have forwarded one.
fn is_this_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let address = v6.unwrap_or(name).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|ip| ip.is_loopback() && ip.is_ipv6() == v6.is_some())
}

fn response(outcome: Outcome, text: impl FnOnce() -> Arc<str>) -> String {
    let (status, kind, body) = match outcome {
        Outcome::Metrics { .. } => ("200 OK", OPENMETRICS, text()),
        Outcome::BadRequest => ("400 Bad Request", PLAIN, "no request of HTTP/1.1\n".into()),
        Outcome::OtherHost => {
            ("403 Forbidden", PLAIN, "metrics are for a Host of 127.0.0.1 or localhost\n".into())
        }
        Outcome::NotFound => ("404 Not Found", PLAIN, "metrics are at /metrics\n".into()),
        Outcome::NotAllowed => ("405 Method Not Allowed", PLAIN, "GET or HEAD\n".into()),
        Outcome::Busy => ("503 Service Unavailable", PLAIN, "this user asks too often\n".into()),
    };
    let more = match outcome {
        Outcome::NotAllowed => "Allow: GET, HEAD\r\n",
        Outcome::Busy => "Retry-After: 1\r\n",
        _ => "",
    };
    let length = body.len();
    let body = if outcome == (Outcome::Metrics { text: false }) { "" } else { &*body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}"
    )
}

const END: &[u8] = b"\r\n\r\n";

/// Prometheus sends some 300 bytes.
const LONGEST_REQUEST: usize = 8192;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PLAIN: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(request: &str) -> Outcome {
        outcome(request.as_bytes(), Hosts::OfThisHost)
    }

    #[test]
    fn the_metrics_are_one_resource_that_can_be_read() {
        let ask = |line: &str| of(&format!("{line} HTTP/1.1\r\nHost: 127.0.0.1:1325\r\n\r\n"));
        assert_eq!(ask("GET /metrics"), Outcome::Metrics { text: true });
        assert_eq!(ask("GET /metrics?name[]=x"), Outcome::Metrics { text: true });
        assert_eq!(ask("HEAD /metrics"), Outcome::Metrics { text: false });
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"] {
            assert_eq!(ask(&format!("{method} /metrics")), Outcome::NotAllowed, "{method}");
        }
        for path in ["/", "/metrics/", "/Metrics", "//metrics", "/metrics%00"] {
            assert_eq!(ask(&format!("GET {path}")), Outcome::NotFound, "{path}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for request in [
            "GET /metrics HTTP/1.1\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n folded\r\n\r\n",
            "GET /metrics HTTP/1.1\nHost: 127.0.0.1\n\n",
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\nb\r\n\r\n",
            "GET /metrics HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n",
            "GET /metrics\r\nHost: 127.0.0.1\r\n\r\n",
            "GET  /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            "GET /metrics HTTP/1.1 \r\nHost: 127.0.0.1\r\n\r\n",
            " /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            "GET http://127.0.0.1/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            "GET /metrics\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            "\u{fe}\u{ff}\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(of(request), Outcome::BadRequest, "{request:?}");
        }
    }

    #[test]
    fn a_name_that_only_leads_here_is_another_host() {
        let ask = |host: &str| of(&format!("GET /metrics HTTP/1.1\r\nhost:{host}\r\n\r\n"));
        for host in ["127.0.0.1", " localhost:9 ", "LocalHost", "[::1]:1325", "127.1.2.3:1"] {
            assert_eq!(ask(host), Outcome::Metrics { text: true }, "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:1325",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "192.0.2.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "::1",
            "[127.0.0.1]",
            "127.0.0.1:x",
            "evil@127.0.0.1",
        ] {
            assert_eq!(ask(host), Outcome::OtherHost, "{host}");
        }
        let other = b"GET /metrics HTTP/1.1\r\nHost: any\r\n\r\n";
        assert_eq!(outcome(other, Hosts::Any), Outcome::Metrics { text: true });
    }

    #[tokio::test]
    async fn an_answer_tells_its_length_and_a_head_has_no_more() {
        for (method, body) in [("GET", "text"), ("HEAD", "")] {
            let asked = format!("{method} /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nbody");
            let (mut near, mut far) = tokio::io::duplex(64);
            let answering = tokio::spawn(async move {
                let asked = request(&mut far).await?;
                answer(far, &asked, Hosts::OfThisHost, || "text".into()).await
            });
            near.write_all(asked.as_bytes()).await.unwrap();
            let mut said = String::new();
            near.read_to_string(&mut said).await.unwrap();
            let (head, rest) = said.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains("\r\nContent-Length: 4\r\n"), "{head}");
            assert_eq!(rest, body);
            drop(near);
            answering.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_head_ends_where_it_does_in_any_pieces() {
        let head = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for size in 1..=head.len() {
            let (mut near, mut far) = tokio::io::duplex(size);
            let asking = tokio::spawn(async move { (near.write_all(head).await, near).0 });
            assert_eq!(request(&mut far).await.unwrap(), head, "{size}");
            asking.await.unwrap().unwrap();
        }
        let (mut near, mut far) = tokio::io::duplex(2 * LONGEST_REQUEST);
        near.write_all(&[b'x'; 2 * LONGEST_REQUEST]).await.unwrap();
        assert_eq!(request(&mut far).await.unwrap().len(), LONGEST_REQUEST);
    }
}
