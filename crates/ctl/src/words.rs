//! The words for what the daemon says in names.

use bip324_control::Kind;

use crate::printable::printable;

/// A session's transport towards its peer.
#[must_use]
pub const fn transport(kind: Kind) -> &'static str {
    match kind {
        Kind::V2 => "v2",
        Kind::Passthrough => "passthrough",
        Kind::Fallback => "PLAINTEXT",
    }
}

/// What a transport means.
#[must_use]
pub const fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::V2 => "encrypted: v1 from the client, BIP324 v2 to the peer",
        Kind::Passthrough => {
            "encrypted by the client itself, which speaks v2; passed through as it is"
        }
        Kind::Fallback => "PLAINTEXT: the peer does not speak v2, and fallback = \"v1\" allows it",
    }
}

/// Why connections were refused, or broken off.
#[must_use]
pub fn reason(name: &str) -> String {
    match name {
        "full" => "all sessions were taken (max_sessions)",
        "user_full" => "the user had all sessions that one may (max_direct_per_user)",
        "memory" => "no memory was left (max_memory), to begin with or later on",
        "untracked" => "the kernel did not know where it was going",
        "destination" => "a destination that is never dialled",
        "not_redirected" => "not redirected, and not served directly",
        "not_version" => "the client did not begin with VERSION",
        "passthrough_off" => "the client speaks v2 itself, and passthrough is off",
        "client" => "the client left or kept silent",
        "unreachable" => "the peer could not be reached",
        "not_v2" => "the peer does not speak v2",
        "downgrade" => "a peer that has spoken v2 did not: POSSIBLE DOWNGRADE",
        "handshake" => "the v2 handshake failed half-way",
        "broken" => "an established session broke",
        "closed" => "closed over the control socket",
        other => return printable(other).replace('_', " "),
    }
    .to_owned()
}

/// Whether that is the end of sessions that were established, which refuses nobody.
#[must_use]
pub fn breaks_off(reason: &str) -> bool {
    ["broken", "closed"].contains(&reason)
}

/// Lines of words no longer than `width`, but for words that are.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_a_newer_daemon_is_still_shown() {
        assert_eq!(reason("not_v2"), "the peer does not speak v2");
        assert_eq!(reason("moon_phase\x1b"), "moon phase?");
    }

    /// The reference's list is the daemon's, whose own test sees to that.
    #[test]
    fn every_documented_reason_has_its_words() {
        let reference = include_str!("../../../docs/CONTROL.md");
        let (_, table) = reference.split_once("| reason in `refused` |").unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
        let names: Vec<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            assert_ne!(reason(name), name.replace('_', " "), "no words");
        }
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable word", 4), ["unbreakable", "word"]);
    }
}
