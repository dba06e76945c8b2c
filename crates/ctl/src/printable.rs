//! Text that a terminal shows and does not obey.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// The text with everything but printable ASCII replaced: a peer's user agent cannot move the cursor,
/// change colours or turn the direction of writing, and each character is one column wide.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().map(shown).collect()
}

/// The value as one line of JSON, newline included. What is not ASCII is written as `\u`, so that
/// this, too, can be looked at.
/// What cannot be JSON, which plain data with string keys always can, is an empty line.
#[must_use]
pub fn json<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Ascii));
    if written.is_err() {
        bytes.clear();
    }
    bytes.push(b'\n');
    String::from_utf8_lossy(&bytes).into_owned()
}

/// serde_json's compact form, in ASCII. Control characters are escaped in any case, but for DEL.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        for c in fragment.chars() {
            if c.is_ascii() && c != '\x7f' {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert_eq!(printable("/Satoshi:27.0.0/"), "/Satoshi:27.0.0/");
        assert_eq!(printable("a\x1b[2J\r\nb\u{9b}c\u{202e}d\x7f"), "a?[2J??b?c?d?");
    }

    #[test]
    fn json_is_ascii_and_reads_back() {
        for text in ["/a \"b\" \\/", "\x1b[2J\n", "\x7f\u{9b}\u{202e}", "\u{1f600}é"] {
            let line = json(&text);
            assert!(line.trim_end().chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line}");
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
