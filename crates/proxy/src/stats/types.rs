//! Messages of one direction by type, as far as there were any: a session sees a dozen types.

use bip324_control::TypeCount;
use bip324_transport::command::{Command, short_name};
use bip324_transport::tally::Tally;
use bip324_transport::v1::HEADER_LEN;

/// What a direction carried, by type.
#[derive(Clone, Debug, Default)]
pub(super) struct Types {
    counts: Vec<Count>,
    last: Option<Command>,
}

/// Messages of one type.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Short id; 0 for all types that have none.
    id: u8,
    messages: u64,
    payload: u64,
    packets: u64,
}

impl Types {
    /// Takes over what was translated.
    pub(super) fn drain(&mut self, tally: &mut Tally) {
        self.last = tally.last().or(self.last);
        tally.drain(|id, count| {
            let [messages, payload, packets] =
                [count.messages, count.payload, count.packets].map(u64::from);
            self.add(Count { id, messages, payload, packets });
        });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|&count| self.add(count));
    }

    fn add(&mut self, more: Count) {
        match self.counts.iter_mut().find(|count| count.id == more.id) {
            Some(count) => {
                count.messages += more.messages;
                count.payload += more.payload;
                count.packets += more.packets;
            }
            None => {
                self.counts.reserve_exact(1);
                self.counts.push(more);
            }
        }
    }

    pub(super) fn messages(&self) -> u64 {
        self.counts.iter().map(|count| count.messages).sum()
    }

    pub(super) fn last(&self) -> Option<String> {
        Some(self.last?.to_string())
    }

    /// The most bytes first.
    pub(super) fn report(&self) -> Vec<TypeCount> {
        let mut types: Vec<_> = self.counts.iter().map(Count::report).collect();
        types.sort_by_key(|count| std::cmp::Reverse(count.client_bytes));
        types
    }
}

impl Count {
    fn report(&self) -> TypeCount {
        TypeCount {
            name: short_name(self.id).unwrap_or("other").to_owned(),
            messages: self.messages,
            client_bytes: self.payload + self.messages * HEADER_LEN as u64,
            peer_bytes: self.packets,
        }
    }
}
