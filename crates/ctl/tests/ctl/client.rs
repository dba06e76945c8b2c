//! Whoever is at the other end of the socket, or nobody: what is said, and the exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::thread;

use bip324_control::{Answer, Code, Refusal, Request};

use crate::server::{Place, say, version};

fn expect(output: &Output, code: i32, words: &str) {
    let said = String::from_utf8([&*output.stdout, &*output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Has the first connection answered with these bytes, as soon as it has asked anything.
fn answering(bytes: &'static [u8]) -> Place {
    let place = Place::new();
    place.answer(bytes.to_vec());
    place
}

#[test]
fn without_a_socket_it_says_that_nothing_runs() {
    let place = Place::new();
    expect(&place.ctl(&["log"]), 69, "there is no /tmp/bip324-test-");
}

#[test]
fn a_socket_that_nobody_listens_on_is_told_from_none() {
    let place = Place::new();
    drop(place.listen());
    expect(&place.ctl(&["log"]), 69, "nothing listens on");
}

#[test]
fn a_socket_of_others_names_the_group_that_may() {
    let place = Place::new();
    let _listener = place.listen();
    fs::set_permissions(place.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    // Root may do everything: as somebody who may not. Our folder may not be open to him, so the
    // program is copied.
    let copy = place.socket().with_file_name("bip324ctl");
    fs::copy(env!("CARGO_BIN_EXE_bip324ctl"), &copy).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    let output = command.args(["log", "--socket"]).arg(place.socket()).output().unwrap();
    expect(&output, 77, "members of group root (`sudo usermod -aG root $USER`, then log in again)");
}

#[test]
fn another_protocol_and_another_program_are_told() {
    let place = Place::new();
    let listener = place.listen();
    thread::spawn(move || say(&mut listener.accept().unwrap().0, &version(2)));
    expect(&place.ctl(&["log"]), 76, "bip324-proxy 9.9 speaks version 2 of the control protocol");
    expect(&answering(b"SSH-2.0-OpenSSH\r\n").ctl(&["log"]), 76, "is not bip324-proxy");
    expect(&answering(b"{\"answer\":\"reboot\"}\n").ctl(&["log"]), 76, "is not bip324-proxy");
    expect(&answering(b"").ctl(&["log"]), 75, "has closed the connection");
    expect(&answering(b"{\"answer\":").ctl(&["log"]), 75, "has closed the connection");
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let place = Place::new();
    place.serve(|_| Answer::Log { level: "info".into() });
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = place.command(&["log"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    expect(&output.wait_with_output().unwrap(), 74, "bip324ctl: cannot print: No space left");
}

#[test]
fn a_refusal_is_passed_on_in_its_words() {
    for (code, exit) in [
        (Code::NotPermitted, 77),
        (Code::NoSuchSession, 66),
        (Code::BadRequest, 70),
        (Code::Busy, 75),
    ] {
        let place = Place::new();
        place.serve(move |_| {
            Answer::Error(Refusal { code, message: "it \x1b[2J would not".to_owned() })
        });
        expect(&place.ctl(&["close", "7"]), exit, "bip324ctl: it ?[2J would not");
    }
}

#[test]
fn the_log_level_is_asked_for_and_set() {
    let place = Place::new();
    place.serve(|request| match request {
        Request::Log { level } => Answer::Log { level: level.unwrap_or_else(|| "info".into()) },
        other => panic!("{other:?}"),
    });
    expect(&place.ctl(&["log"]), 0, "info\n");
    expect(&place.ctl(&["log", "debug"]), 0, "debug\n");
    expect(
        &place.ctl(&["log", "debug", "--json"]),
        0,
        "{\"answer\":\"log\",\"level\":\"debug\"}\n",
    );
    assert_eq!(place.ctl(&["log", "loud"]).status.code(), Some(64));
}

#[test]
fn a_session_is_closed() {
    let place = Place::new();
    place.serve(|request| match request {
        Request::Close { id } => Answer::Closed { id },
        other => panic!("{other:?}"),
    });
    expect(&place.ctl(&["close", "7"]), 0, "session 7 is closed\n");
}
