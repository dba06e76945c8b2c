//! Messages and their bytes by type, counted as they are translated.

use crate::command::{Command, SHORT_TYPES};

/// What was translated since it was last drained. Each message costs a few additions here; whoever
/// publishes the counts does it once for a whole buffer of messages.
#[derive(Debug)]
pub struct Tally {
    /// A bit for each of `counts` that is not zero.
    touched: u32,
    /// By short id; at 0 all types that have none.
    counts: [Count; SHORT_TYPES + 1],
    /// The type of the last message.
    last: Option<Command>,
}

/// Messages of one type. Whoever does not drain them every 4 GiB finds them modulo that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub messages: u32,
    /// Bytes of payload.
    pub payload: u32,
    /// Bytes of packets.
    pub packets: u32,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        let none = Count { messages: 0, payload: 0, packets: 0 };
        Self { touched: 0, counts: [none; SHORT_TYPES + 1], last: None }
    }

    /// One more message, of the type with this short id, or 0.
    #[inline]
    pub(crate) fn add(&mut self, id: u8, command: Command, payload: usize, packet: usize) {
        self.last = Some(command);
        if let Some(count) = self.counts.get_mut(usize::from(id)) {
            self.touched |= 1 << id;
            count.messages = count.messages.wrapping_add(1);
            count.payload = count.payload.wrapping_add(payload as u32);
            count.packets = count.packets.wrapping_add(packet as u32);
        }
    }

    /// Hands out what was counted since the last time, by short id, 0 for the types that have none,
    /// and starts anew.
    pub fn drain(&mut self, mut each: impl FnMut(u8, Count)) {
        while self.touched != 0 {
            let id = self.touched.trailing_zeros() as u8;
            self.touched &= self.touched - 1;
            if let Some(count) = self.counts.get_mut(usize::from(id)) {
                each(id, std::mem::take(count));
            }
        }
    }

    /// Whether nothing was counted since it was last drained.
    pub const fn is_empty(&self) -> bool {
        self.touched == 0
    }

    /// The type of the last message ever counted.
    pub const fn last(&self) -> Option<Command> {
        self.last
    }
}
