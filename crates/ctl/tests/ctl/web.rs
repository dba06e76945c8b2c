//! `bip324ctl web`: who is answered and with what, over real connections to the real program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;
use std::{fs, thread};

use bip324_control::{Answer, Code, Event, Kind, Refusal, Request};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::sample::{session, status};
use crate::server::Place;

/// A running `bip324ctl web`, ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    token: String,
}

impl Server {
    fn start(place: &Place) -> Self {
        Self::start_with(place, &[])
    }

    fn start_with(place: &Place, arguments: &[&str]) -> Self {
        let arguments = [&["web", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut command = place.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, token) =
            line.trim().strip_prefix("http://").unwrap().split_once("/#").unwrap();
        Self { child, address: address.parse().unwrap(), token: token.to_owned() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Sends this head, with the connection's end asked for, and reads all of the answer.
    fn say(&self, head: &str) -> Reply {
        let mut stream = self.connect();
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        Reply::of(&text)
    }

    /// A request as its own page makes it, with more header lines.
    fn ask(&self, method: &str, path: &str, more: &str) -> Reply {
        let Self { address, token, .. } = self;
        self.say(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{more}"
        ))
    }

    /// The lines of the feed, for as long as the iterator lives.
    fn feed(&self) -> impl Iterator<Item = Value> + use<> {
        let mut stream = self.connect();
        let Self { address, token, .. } = self;
        write!(
            stream,
            "GET /feed HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        // Heads, and the lengths of chunks, which are a line each here.
        lines.filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(&line).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

#[test]
fn the_page_needs_no_token_and_every_answer_has_its_headers() {
    let place = Place::new();
    let server = Server::start(&place);
    let host = format!("Host: {}\r\n", server.address);
    for (path, status, kind) in [
        ("/", 200, "text/html"),
        ("/page.css", 200, "text/css"),
        ("/main.js", 200, "text/javascript"),
        ("/icon.svg", 200, "image/svg+xml"),
        ("/nothing", 404, ""),
        ("/feed", 401, "text/plain"),
        ("/session/1", 401, "text/plain"),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = server.say(&format!("{method} {path} HTTP/1.1\r\n{host}"));
            assert_eq!(reply.status, status, "{path}: {reply:?}");
            assert!(reply.head.contains(&format!("content-type: {kind}")) || kind.is_empty());
            assert_eq!(reply.body.is_empty(), method == "HEAD" || status == 404, "{reply:?}");
            for header in [
                "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; ",
                "frame-ancestors 'none'",
                "x-content-type-options: nosniff",
                "referrer-policy: no-referrer",
                "cache-control: no-store",
                "cross-origin-opener-policy: same-origin",
                "cross-origin-resource-policy: same-origin",
            ] {
                assert!(reply.head.contains(header), "{path}: {header}: {reply:?}");
            }
            assert!(!reply.head.contains("unsafe"), "{reply:?}");
            assert!(!reply.head.contains("access-control"), "{reply:?}");
        }
    }
}

#[test]
fn another_host_another_origin_and_another_token_are_refused() {
    let place = Place::new();
    let _daemon = Daemon::start(&place, vec![session(1, Kind::V2)]);
    let server = Server::start(&place);
    let Server { address, token, .. } = &server;
    let port = address.port();
    let right = format!("Authorization: Bearer {token}\r\n");
    let wrong = format!("Authorization: Bearer {}\r\n", token.replace(|_| true, "0"));
    let own = format!("Host: {address}\r\n");
    for (path, head, status) in [
        ("/session/1", format!("{own}{right}"), 200),
        ("/session/1", format!("Host: localhost:{port}\r\n{right}"), 200),
        ("/session/1", format!("{own}{right}Origin: http://{address}\r\n"), 200),
        ("/session/1", format!("{own}{right}Sec-Fetch-Site: same-origin\r\n"), 200),
        ("/session/1", own.clone(), 401),
        ("/session/1", format!("{own}{wrong}"), 401),
        ("/session/1", format!("{own}Authorization: Bearer {token}0\r\n"), 401),
        ("/session/1", format!("{own}Authorization: Basic {token}\r\n"), 401),
        ("/session/1", format!("{own}{right}Sec-Fetch-Site: same-site\r\n"), 403),
        ("/session/1", format!("{own}{right}Sec-Fetch-Site: cross-site\r\n"), 403),
        ("/session/1", format!("{own}{right}Origin: http://evil.example\r\n"), 403),
        ("/session/1", format!("{own}{right}Origin: http://127.0.0.1:1\r\n"), 403),
        ("/session/1", format!("{own}{right}Origin: null\r\n"), 403),
        ("/session/1", format!("Host: evil.example:{port}\r\n{right}"), 421),
        ("/session/1", right.clone(), 421),
        ("/", right, 421),
        ("/", format!("Host: evil.example:{port}\r\n"), 421),
        ("/", format!("Host: 127.0.0.1\r\n{own}"), 421),
        ("/", format!("{own}Host: evil.example\r\n"), 421),
    ] {
        let reply = server.say(&format!("GET {path} HTTP/1.1\r\n{head}"));
        assert_eq!(reply.status, status, "{path} {head}: {reply:?}");
    }
}

#[test]
fn it_only_reads() {
    let place = Place::new();
    let server = Server::start(&place);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"] {
        for path in ["/", "/feed", "/session/1"] {
            let reply = server.ask(method, path, "");
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            assert!(reply.head.contains("allow: get, head"), "{reply:?}");
        }
    }
}

#[test]
fn other_machines_are_let_in_only_by_who_says_so() {
    let place = Place::new();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:1326"] {
        let output = place.ctl(&["web", "--listen", listen]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("--i-know") && output.stdout.is_empty(), "{said}");
    }
    let mut command = place.command(&["web", "--listen", "0.0.0.0:0", "--i-know"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("http://0.0.0.0:"), "{line}");
}

#[test]
fn a_taken_port_is_said() {
    let place = Place::new();
    let server = Server::start(&place);
    let output = place.ctl(&["web", "--listen", &server.address.to_string()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(71), "{said}");
    assert!(
        said.starts_with(&format!("bip324ctl: cannot listen on {}: ", server.address)),
        "{said}"
    );
}

#[test]
fn the_address_is_written_for_user_and_group_alone() {
    let place = Place::new();
    let file = place.socket().with_file_name("url");
    // What somebody else may have open already is not written to.
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let old = fs::File::open(&file).unwrap();
    let server = Server::start_with(&place, &["--url-file", file.to_str().unwrap()]);
    // Written before it answers anybody.
    server.ask("GET", "/", "");
    let url = format!("http://{}/#{}\n", server.address, server.token);
    assert_eq!(fs::read_to_string(&file).unwrap(), url);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o137, 0);
    assert_eq!(std::io::read_to_string(old).unwrap(), "old");
    assert_ne!(Server::start(&place).token, server.token);
}

#[test]
fn all_pages_share_one_subscription_and_see_what_happens() {
    let place = Place::new();
    let daemon = Daemon::start(&place, vec![session(1, Kind::V2)]);
    let server = Server::start(&place);
    let mut feeds: Vec<_> = (0..3).map(|_| server.feed()).collect();
    for feed in &mut feeds {
        let first = feed.find(|line| line["feed"] == "up").unwrap();
        assert_eq!(first["sessions"][0]["id"], 1, "{first}");
        assert_eq!(first["status"]["version"], "0.1.0");
    }
    daemon.tell(Event::Opened { session: session(2, Kind::Fallback) });
    for feed in &mut feeds {
        let line = next_event(feed);
        assert_eq!((&line["event"], &line["session"]["id"]), (&"opened".into(), &2.into()));
        assert_eq!(line["session"]["kind"], "fallback");
    }
    daemon.tell(Event::Traffic { status: Box::new(status()), sessions: vec![] });
    daemon.tell(Event::Closed { session: session(1, Kind::V2), reason: "finished".to_owned() });
    for feed in &mut feeds {
        let clients = feed.find(|line| line["feed"] == "clients").unwrap();
        assert_eq!(clients["clients"]["2"], "user root", "{clients}");
        let traffic = next_event(feed);
        assert_eq!(traffic["event"], "traffic");
        assert_eq!(traffic["refusals"][0][0], "the peer could not be reached");
        assert_eq!(next_event(feed)["reason"], "finished");
    }
    // A page that is opened now is told of what holds by now.
    let whole = server.feed().next().unwrap();
    assert_eq!(whole["sessions"].as_array().unwrap().len(), 1, "{whole}");
    assert_eq!(whole["sessions"][0]["id"], 2);
    assert_eq!(whole["history"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.subscriptions(), 1);
}

/// What this process finds out by itself comes in between.
fn next_event(feed: &mut impl Iterator<Item = Value>) -> Value {
    feed.find(|line| line.get("event").is_some()).unwrap()
}

#[test]
fn the_rules_are_proven_while_somebody_looks() {
    let place = Place::new();
    let server = Server::start(&place);
    let rules = server.feed().find(|line| line["rules"]["state"].is_string()).unwrap();
    assert!(!rules["rules"]["said"].as_str().unwrap().is_empty(), "{rules}");
}

#[test]
fn a_daemon_that_goes_is_said_and_one_that_comes_is_followed() {
    let place = Place::new();
    let server = Server::start(&place);
    let mut feed = server.feed();
    let down = feed.find(|line| line["feed"] == "down" && line["reason"] != "").unwrap();
    let reason = feed.find(|line| line["reason"].as_str().unwrap_or("").contains("control.sock"));
    assert!(reason.is_some(), "{down}");
    let daemon = Daemon::start(&place, vec![]);
    assert!(feed.any(|line| line["feed"] == "up"));
    drop(daemon);
    assert!(feed.any(|line| line["feed"] == "down"));
    let _daemon = Daemon::start(&place, vec![session(7, Kind::V2)]);
    let up = feed.find(|line| line["feed"] == "up").unwrap();
    assert_eq!(up["sessions"][0]["id"], 7);
}

/// The daemon ends a subscription that this process was too slow for: no reason to call it stopped.
#[test]
fn lost_events_are_made_up_for_and_nobody_is_alarmed() {
    let place = Place::new();
    let daemon = Daemon::start(&place, vec![session(7, Kind::V2)]);
    let server = Server::start(&place);
    let mut feed = server.feed();
    assert!(feed.any(|line| line["feed"] == "up"));
    daemon.tell(Event::Opened { session: session(8, Kind::V2) });
    daemon.tell(Event::Lost { events: 3 });
    daemon.hang_up();
    for line in feed.by_ref().take_while(|line| line["feed"] != "up") {
        assert_ne!(line["feed"], "down", "{line}");
    }
    assert_eq!(daemon.subscriptions(), 2);
    // The chart goes on.
    let whole = server.feed().next().unwrap();
    assert_eq!(whole["history"].as_array().unwrap().len(), 2, "{whole}");
}

#[test]
fn a_session_that_is_over_is_told_from_a_daemon_that_fails() {
    let place = Place::new();
    let daemon = Daemon::start(&place, vec![session(1, Kind::V2)]);
    let server = Server::start(&place);
    let reply = server.ask("GET", "/session/1", "");
    let detail: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(detail["session"]["session_id"].as_str().unwrap().len(), 64);
    assert_eq!(server.ask("GET", "/session/2", "").status, 404);
    assert_eq!(server.ask("GET", "/session/-1", "").status, 400);
    assert_eq!(server.ask("GET", "/session/1/close", "").status, 404);
    daemon.answer(|_| Answer::Error(Refusal { code: Code::Busy, message: "too many".to_owned() }));
    let reply = server.ask("GET", "/session/1", "");
    assert_eq!((reply.status, reply.body.as_str()), (502, "too many\n"));
}

#[test]
fn requests_are_bounded() {
    let place = Place::new();
    let server = Server::start(&place);
    let long = format!("X: {}\r\n", "x".repeat(20_000));
    assert_eq!(server.ask("GET", "/", &long).status, 431);
    let many = "X: x\r\n".repeat(200);
    assert_eq!(server.ask("GET", "/", &many).status, 431);
    // Who begins a request and goes no further is closed on; so is who has nothing more to ask.
    let mut slow = server.connect();
    slow.write_all(b"GET / HT").unwrap();
    let mut idle = server.connect();
    write!(idle, "GET /icon.svg HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).unwrap();
    for mut stream in [slow, idle] {
        // An error, had it gone on for the 30 s that a read may take.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn pages_are_bounded_and_others_are_still_answered() {
    let place = Place::new();
    let _daemon = Daemon::start(&place, vec![]);
    let server = Server::start(&place);
    let mut open = Vec::new();
    let refused = (0..100).find(|_| {
        let mut stream = server.connect();
        let Server { address, token, .. } = &server;
        write!(
            stream,
            "GET /feed HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        open.push(reader);
        line.contains(" 503 ")
    });
    assert_eq!(refused, Some(24));
    assert_eq!(server.ask("GET", "/", "").status, 200);
    // A place is free again once a page is closed.
    open.clear();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while server.feed_status() != 200 {
        assert!(std::time::Instant::now() < deadline, "no place became free");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Server {
    fn feed_status(&self) -> u16 {
        self.ask("HEAD", "/feed", "").status
    }
}

/// Requests reach the daemon as such alone: a page can make it do nothing.
#[test]
fn the_daemon_is_asked_only_to_tell() {
    let place = Place::new();
    let daemon = Daemon::start(&place, vec![session(1, Kind::V2)]);
    let server = Server::start(&place);
    server.feed().next().unwrap();
    server.ask("GET", "/session/1", "");
    let requests = daemon.requests();
    assert!(requests.contains(&Request::Session { id: 1 }), "{requests:?}");
    for request in requests {
        let tells = matches!(
            request,
            Request::Version {} | Request::Subscribe { .. } | Request::Session { .. }
        );
        assert!(tells, "{request:?}");
    }
}
