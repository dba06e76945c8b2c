//! The figures as a table of Markdown, each beside what BIP324 lets expect.

use std::fmt::Write;

use bip324_control::{Flow, Traffic, TypeCount};

/// Both directions by type, and all together.
pub(crate) fn text(traffic: &Traffic) -> String {
    let mut text = "| direction | type | messages | v1 bytes | v2 bytes | saved | expected |\n\
                    |---|---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let up = ("to peer", &traffic.v2_to_peer, &traffic.types_to_peer);
    let down = ("to client", &traffic.v2_to_client, &traffic.types_to_client);
    let mut all = [Row::default(); 2];
    for ((direction, flow, types), all) in [up, down].into_iter().zip(&mut all) {
        for count in types {
            let row = Row::of(count);
            row.write(&mut text, direction, &count.name);
            all.add(row);
        }
        let handshake = all.handshake(flow);
        handshake.write(&mut text, direction, "handshake");
        all.add(handshake);
    }
    let [up, down] = all;
    up.write(&mut text, "to peer", "**all**");
    down.write(&mut text, "to client", "**all**");
    let mut both = up;
    both.add(down);
    both.write(&mut text, "both", "**all**");
    text
}

#[derive(Clone, Copy, Default)]
struct Row {
    messages: u64,
    v1: u64,
    v2: u64,
    expected: i64,
}

impl Row {
    /// v1 has a header of 24 bytes. v2 has 20 around the contents, which begin with a type: of one byte
    /// where it has a short id, else of 13.
    fn of(count: &TypeCount) -> Self {
        let saved = if count.name == "other" { 24 - 20 - 13 } else { 24 - 20 - 1 };
        let messages = i64::try_from(count.messages).unwrap_or(i64::MAX);
        Self {
            messages: count.messages,
            v1: count.client_bytes,
            v2: count.peer_bytes,
            expected: saved * messages,
        }
    }

    /// What was carried beside the messages: key, garbage, terminator and version packet, of which the
    /// garbage is random.
    fn handshake(&self, flow: &Flow) -> Self {
        let (v1, v2) = (flow.client_bytes - self.v1, flow.peer_bytes - self.v2);
        let expected = if v2 > 0 { -HANDSHAKE } else { 0 };
        Self { messages: 0, v1, v2, expected }
    }

    const fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.v1 += other.v1;
        self.v2 += other.v2;
        self.expected += other.expected;
    }

    fn write(&self, text: &mut String, direction: &str, name: &str) {
        let Self { messages, v1, v2, expected } = *self;
        if v1 == 0 && v2 == 0 {
            return;
        }
        let saved = i128::from(v1) - i128::from(v2);
        let percent = if v1 > 0 {
            format!(" ({:.2} %)", 100.0 * saved as f64 / v1 as f64)
        } else {
            String::new()
        };
        let line = format!(
            "| {direction} | {name} | {messages} | {v1} | {v2} | {saved}{percent} | {expected} |"
        );
        // To a string: nothing can fail.
        let _ = writeln!(text, "{line}");
    }
}

/// Key 64, garbage 0 to 4095 and so 2047.5 on average, terminator 16, version packet 20.
const HANDSHAKE: i64 = 64 + 2048 + 16 + 20;
