//! What bip324-proxy and its control clients say to each other: plain data, one JSON object a line.
//!
//! A client writes one [`Request`] a line and reads one [`Answer`] a line for it, in order; after
//! [`Answer::Subscribed`] come [`Event`]s until either side closes. docs/CONTROL.md is the reference.
//!
//! Answers may gain fields: clients ignore those that they do not know. Requests are read strictly.

#![forbid(unsafe_code)]

mod answer;
mod event;
mod request;
mod session;
mod status;

pub use answer::{Answer, Code, Refusal, Scope, Version};
pub use event::Event;
pub use request::{MAX_REQUEST, Request};
pub use session::{Detail, Flow, Kind, Session, TypeCount};
pub use status::{ByKind, Handshakes, Limits, Status, Traffic};

/// The version of this protocol. It changes when an old client would misread an answer.
pub const PROTOCOL: u32 = 1;

/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/run/bip324-proxy/control.sock";

/// One message as its line, newline included.
///
/// # Errors
/// None for the types of this crate.
pub fn line<T: serde::Serialize>(message: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// The message of one line, with or without its newline.
///
/// # Errors
/// It is none of the type's; the text says where and why.
pub fn parse<'a, T: serde::Deserialize<'a>>(line: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_that_a_person_can_type() {
        for (text, request) in [
            (r#"{"request":"version"}"#, Request::Version {}),
            (r#"{"request":"session","id":7}"#, Request::Session { id: 7 }),
            (r#"{"request":"subscribe"}"#, Request::Subscribe { interval: None }),
            (r#"{"request":"log","level":"debug"}"#, Request::Log { level: Some("debug".into()) }),
        ] {
            assert_eq!(parse::<Request>(text.as_bytes()).unwrap(), request);
            assert_eq!(line(&request).unwrap(), format!("{text}\n").into_bytes());
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "",
            "nonsense",
            "[]",
            r#"{"request":"reboot"}"#,
            r#"{"request":"status","and":1}"#,
            r#"{"request":"session"}"#,
            r#"{"request":"session","id":-1}"#,
            r#"{"request":"session","id":1}{"request":"status"}"#,
        ] {
            assert!(parse::<Request>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn answers_survive_their_line() {
        let refusal = Refusal { code: Code::NoSuchSession, message: "no session 7".to_owned() };
        let answer = Answer::Error(refusal);
        let text = line(&answer).unwrap();
        assert_eq!(
            text,
            b"{\"answer\":\"error\",\"code\":\"no_such_session\",\"message\":\"no session 7\"}\n"
        );
        assert_eq!(parse::<Answer>(&text).unwrap(), answer);
    }

    #[test]
    fn a_newer_daemon_s_answer_is_understood() {
        let text = br#"{"answer":"version","version":"9","protocol":1,"new":[1]}"#;
        let version = Version { version: "9".to_owned(), protocol: 1 };
        assert_eq!(parse::<Answer>(text).unwrap(), Answer::Version(version));
    }
}
