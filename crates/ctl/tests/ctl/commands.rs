//! What each command prints of a daemon's answers, and the exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use bip324_control::{
    Answer, Code, Detail, Kind, PROTOCOL, Refusal, Request, Scope, Session, TypeCount, Version,
    line,
};
use serde_json::Value;

use crate::sample::{session, status};
use crate::server::Place;

/// A daemon with these sessions, and a `bip324-setup` that checks like this.
fn daemon(sessions: Vec<Session>, scope: Scope, check: &str) -> Place {
    let place = Place::new();
    for (name, script) in [("bip324-setup", check), ("bip324-run", NOT_YOURS)] {
        let program = place.socket().with_file_name(name);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    place.serve(move |request| match request {
        Request::Status {} => Answer::Status(Box::new(status())),
        Request::Sessions {} => Answer::Sessions { scope, sessions: sessions.clone() },
        Request::Session { id } => {
            let session = sessions.iter().find(|session| session.id == id).unwrap().clone();
            let to_peer = vec![count("getheaders", 90, 11_500, 11_100), count("other", 1, 50, 60)];
            Answer::Session(Box::new(Detail { session, to_peer, to_client: vec![] }))
        }
        other => panic!("{other:?}"),
    });
    place
}

fn of_all_kinds() -> Vec<Session> {
    [Kind::V2, Kind::Passthrough, Kind::Fallback]
        .into_iter()
        .zip(1..)
        .map(|(k, n)| session(n, k))
        .collect()
}

fn count(name: &str, messages: u64, client_bytes: u64, peer_bytes: u64) -> TypeCount {
    TypeCount { name: name.to_owned(), messages, client_bytes, peer_bytes }
}

/// Runs it with the programs above first on PATH.
fn ctl(place: &Place, arguments: &[&str]) -> (i32, String) {
    let folder = place.socket().parent().unwrap().to_owned();
    let output = place.command(arguments).env("PATH", folder).output().unwrap();
    let Output { status, stdout, stderr } = output;
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

const REDIRECTED: &str = "echo 'group bip324 (gid 990) is redirected from port 8333'";
const BROKEN: &str =
    "echo 'bip324-setup: there is no table: run `sudo bip324-setup up`' >&2; exit 78";
const NOT_YOURS: &str = "echo 'bip324-setup: this process is not in group bip324' >&2; exit 67";

#[test]
fn status_tells_all_in_a_screenful() {
    let place = daemon(vec![], Scope::All, REDIRECTED);
    let (code, text) = ctl(&place, &["status"]);
    let expected = "\
Daemon      bip324-proxy 0.1.0, process 4711, up 3 h 12 min
Listeners   127.0.0.1:1324, [::1]:1324
Rules       alive: group bip324 (gid 990) is redirected from port 8333
Fallback    reject: a peer that does not speak v2 is refused
Sessions    3 of 512 now: 1 v2, 1 passthrough, 1 PLAINTEXT
            since the start 1,190 v2, 14 passthrough, 1 PLAINTEXT
Bandwidth   v2 saved 480.0 kB (4.0 %): v1 12.0 MB, v2 11.5 MB, 26,000 messages
            to peers: v1 600.0 kB, v2 580.0 kB, 5,000 messages
            from peers: v1 11.4 MB, v2 10.9 MB, 21,000 messages
Handshakes  1,190: 120 ms on average, half within 100 ms, 99 of 100 within 1.0 s
Refused     37 of 1,250 connections (6 canaries among them)
            30 the peer could not be reached
            7 the peer does not speak v2
";
    assert_eq!((code, text.as_str()), (0, expected), "{text}");
}

/// A session that stood is none that was refused.
#[test]
fn sessions_that_were_broken_off_are_told_apart() {
    let place = Place::new();
    place.serve(|_| {
        let mut status = status();
        for flow in [&mut status.traffic.v2_to_peer, &mut status.traffic.v2_to_client] {
            (flow.messages, flow.client_bytes, flow.peer_bytes) = (u64::MAX, u64::MAX, u64::MAX);
        }
        for (name, count) in [("full", u64::MAX), ("broken", 2), ("closed", 3)] {
            status.refused.insert(name.to_owned(), count);
        }
        Answer::Status(Box::new(status))
    });
    let (_, text) = ctl(&place, &["status"]);
    let expected = "\
            7 the peer does not speak v2
Broken off  5 sessions
            3 closed over the control socket
            2 an established session broke
";
    assert!(text.ends_with(expected), "{text}");
    let all = "Refused     18,446,744,073,709,551,615 of 1,250 connections";
    assert!(text.contains(all), "{text}");
}

#[test]
fn rules_that_are_broken_or_not_ours_to_prove_are_told_apart() {
    let (code, text) = ctl(&daemon(vec![], Scope::All, BROKEN), &["status"]);
    assert_eq!(code, 78);
    assert!(
        text.contains("Rules       BROKEN: there is no table: run `sudo bip324-setup up`\n"),
        "{text}"
    );
    let (code, text) = ctl(&daemon(vec![], Scope::Own, NOT_YOURS), &["status"]);
    assert_eq!(code, 0);
    assert!(text.contains("Rules       cannot tell from this user: "), "{text}");
}

#[test]
fn check_goes_through_all_and_ends_as_the_worst() {
    let place = daemon(vec![], Scope::All, REDIRECTED);
    let (code, text) = ctl(&place, &["check"]);
    assert_eq!(code, 0, "{text}");
    let verdicts: Vec<_> =
        text.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(verdicts, ["ok", "ok", "ok"], "{text}");
    let (code, text) = ctl(&daemon(vec![], Scope::All, BROKEN), &["check"]);
    assert!(code == 78 && text.contains("\nFAILED  rules     there is no table"), "{text}");
    let (code, text) = ctl(&daemon(vec![], Scope::Own, NOT_YOURS), &["check"]);
    assert!(code == 77 && text.contains("\n?       rules     cannot tell"), "{text}");
    let (code, text) = ctl(&Place::new(), &["check", "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["ok"]), (69, &Value::Bool(false)));
    assert_eq!(json["findings"][0]["verdict"], "failed");
    assert!(json["findings"][0]["said"].as_str().unwrap().contains("there is no /tmp/"), "{text}");
}

#[test]
fn sessions_are_a_whole_table_where_there_is_no_terminal() {
    let place = daemon(of_all_kinds(), Scope::All, REDIRECTED);
    let (code, text) = ctl(&place, &["sessions"]);
    let id = of_all_kinds()[0].session_id.clone().unwrap();
    let expected = format!("\
ID  CLIENT     PEER              VIA          NETWORK  PEER'S AGENT        AGE    UP v1    UP v2  DOWN v2  DOWN v1  LAST UP/DOWN        SESSION ID
 1  user root  203.0.113.2:8333  v2           main     /Satoshi:29.0.0/  3 min  12.0 kB  11.5 kB   1.9 MB   2.0 MB  getheaders/headers  {id}
 2  user root  203.0.113.2:8333  passthrough  -        /Satoshi:29.0.0/  3 min  12.0 kB  11.5 kB   1.9 MB   2.0 MB  -/-                 -
 3  user root  203.0.113.2:8333  PLAINTEXT    main     /Satoshi:29.0.0/  3 min  12.0 kB  11.5 kB   1.9 MB   2.0 MB  -/-                 -
");
    assert_eq!((code, text.as_str()), (0, expected.as_str()), "{text}");
}

#[test]
fn no_sessions_are_said_to_be_none_and_whose() {
    let (code, text) = ctl(&daemon(vec![], Scope::All, ""), &["sessions"]);
    assert_eq!(
        (code, text.as_str()),
        (0, "No sessions. A client is started with `bip324-run CLIENT`.\n")
    );
    let (_, text) = ctl(&daemon(vec![], Scope::Own, ""), &["sessions"]);
    assert!(text.starts_with("No sessions of this user; root sees everybody's."), "{text}");
}

#[test]
fn a_session_shows_its_messages_and_its_id_for_reading_aloud() {
    let place = daemon(of_all_kinds(), Scope::All, "");
    let (code, text) = ctl(&place, &["session", "1"]);
    assert_eq!(code, 0, "{text}");
    for part in [
        "Session 1: encrypted: v1 from the client, BIP324 v2 to the peer\n",
        "Bandwidth   v2 saved 100.5 kB (5.0 %): v1 2.0 MB, v2 1.9 MB\n",
        "    0000 0000 0000 0000 0000 0000 0000 0000\n    0000 0000 0000 0000 0000 0bad cafe 0001\n",
        "\n    0000000000000000000000000000000000000000000000000000\
         0badcafe0001\n",
        "getheaders        90    11,500    11,100\n",
    ] {
        assert!(text.contains(part), "{part}\n--\n{text}");
    }
    let (_, text) = ctl(&place, &["session", "3"]);
    assert!(text.contains("Session id  none: this is plaintext"), "{text}");
}

#[test]
fn what_peers_say_cannot_reach_the_terminal() {
    let mut hostile = session(1, Kind::V2);
    hostile.peer_agent = Some(HOSTILE.to_owned());
    hostile.to_client.last = Some("\r\x1b[A".to_owned());
    hostile.network = Some("\u{202e}".to_owned());
    let place = daemon(vec![hostile], Scope::All, REDIRECTED);
    for arguments in
        [&["sessions"][..], &["sessions", "--json"], &["session", "1"], &["session", "1", "--json"]]
    {
        let (_, text) = ctl(&place, arguments);
        assert!(can_be_shown(&text), "{text:?}");
    }
}

/// Nor what is no daemon at all, by the errors that it causes.
#[test]
fn what_answers_cannot_reach_the_terminal() {
    let version = format!("1{HOSTILE}");
    let newer = Answer::Version(Version { version, protocol: PROTOCOL + 1 });
    let unknown = format!("{{\"answer\":{}}}\n", serde_json::to_string(HOSTILE).unwrap());
    let message = HOSTILE.to_owned();
    let refusal = Answer::Error(Refusal { code: Code::BadRequest, message });
    let unexpected = Answer::Log { level: HOSTILE.to_owned() };
    let [newer, refusal, unexpected] = [newer, refusal, unexpected].map(|a| line(&a).unwrap());
    for (bytes, words) in [
        (newer, "speaks version 2"),
        (unknown.into_bytes(), "unknown variant"),
        (refusal, "owned"),
        (unexpected, "it answered"),
    ] {
        for command in ["status", "check"] {
            let place = Place::new();
            place.answer(bytes.clone());
            let (code, text) = ctl(&place, &[command]);
            assert!(code != 0 && text.contains(words), "{text:?}");
            assert!(can_be_shown(&text), "{text:?}");
        }
    }
}

fn can_be_shown(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic())
}

/// Sets a title, begins a sequence in one byte, and turns the direction of writing.
const HOSTILE: &str = "\x1b]0;owned\x07\u{9b}31m\u{202e}";

#[test]
fn verify_tells_a_match_from_none() {
    let place = daemon(of_all_kinds(), Scope::Own, "");
    let id = of_all_kinds()[0].session_id.clone().unwrap();
    let spoken = format!("{} {}", id[..32].to_uppercase(), id[32..].replace("0000", "0000 "));
    let (code, text) = ctl(&place, &["verify", &spoken]);
    assert!(code == 0 && text.starts_with("MATCH: session 1 to 203.0.113.2:8333"), "{text}");

    let misheard = id.replacen("bad", "b8d", 1);
    let (code, text) = ctl(&place, &["verify", &misheard]);
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("NO MATCH: none of this user's 1 v2 session has"), "{text}");
    assert!(
        text.contains("Session 1 has it but for 1 digit") && text.contains("IN THE MIDDLE"),
        "{text}"
    );

    let (code, text) = ctl(&place, &["verify", &"5".repeat(64), "--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["matches"], &json["nearest"]), (1, &Value::Bool(false), &Value::Null));

    let (code, text) = ctl(&place, &["verify", &id[..60]]);
    assert!(code == 65 && text.contains("these are 60: part of one proves nothing"), "{text}");
}

#[test]
fn json_is_one_object_with_the_documented_parts() {
    let place = daemon(of_all_kinds(), Scope::All, REDIRECTED);
    let read =
        |arguments: &[&str]| -> Value { serde_json::from_str(&ctl(&place, arguments).1).unwrap() };
    let status = read(&["status", "--json"]);
    assert_eq!(status["daemon"]["sessions"]["v2"], 1);
    assert_eq!(status["rules"]["state"], "alive");
    assert_eq!(status["saved"]["bytes"], 480_000);
    let sessions = read(&["sessions", "--json"]);
    assert_eq!(sessions["scope"], "all");
    assert_eq!(sessions["sessions"][2]["kind"], "fallback");
    assert_eq!(sessions["sessions"][0]["process"], Value::Null);
    let session = read(&["session", "1", "--json"]);
    assert_eq!(session["id"], 1);
    assert_eq!(session["types"]["to_peer"][0]["type"], "getheaders");
}
