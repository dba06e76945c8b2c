//! The memory of all sessions together: accounted before it is allocated, and never more than
//! `--max-memory`.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use thiserror::Error;

use crate::stats::Stats;

/// What all sessions may take together, or some of them.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: Arc<AtomicUsize>,
    /// Where the whole is counted.
    stats: Arc<Stats>,
    /// What some of the sessions have taken of their part of it.
    part: Option<AtomicUsize>,
}

/// A part of it, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

/// Bytes of a session, with a share as large as their capacity.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    share: Share,
}

/// A session wanted more than is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no memory is left of the {} MiB of --max-memory", .limit / MIB)]
pub(crate) struct Exhausted {
    limit: usize,
}

impl Memory {
    /// `limit` bytes, counted in `stats`.
    pub(crate) fn new(limit: usize, stats: Arc<Stats>) -> Arc<Self> {
        Arc::new(Self { limit: Arc::new(AtomicUsize::new(limit)), stats, part: None })
    }

    /// From now on `limit` bytes, for the halves as well. Who has more keeps it, and gets no more.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// The same memory for sessions that may take half of it and no more.
    pub(crate) fn half(&self) -> Arc<Self> {
        let (limit, stats) = (Arc::clone(&self.limit), Arc::clone(&self.stats));
        Arc::new(Self { limit, stats, part: Some(AtomicUsize::new(0)) })
    }

    /// Takes `bytes` where the sum then stays below `ceiling`; of a half, below half of it.
    fn take(&self, bytes: usize, ceiling: usize) -> bool {
        if let Some(part) = &self.part {
            let sum = |taken: usize| taken.checked_add(bytes).filter(|&sum| sum <= ceiling / 2);
            if part.fetch_update(Relaxed, Relaxed, sum).is_err() {
                return false;
            }
        }
        let taken = self.stats.take_memory(bytes, ceiling);
        if !taken {
            self.give_part(bytes);
        }
        taken
    }

    fn give(&self, bytes: usize) {
        self.stats.give_memory(bytes);
        self.give_part(bytes);
    }

    fn give_part(&self, bytes: usize) {
        if let Some(part) = &self.part {
            part.fetch_sub(bytes, Relaxed);
        }
    }

    /// A share of `bytes`.
    pub(crate) fn share(self: &Arc<Self>, bytes: usize) -> Result<Share, Exhausted> {
        let mut share = Share { memory: Arc::clone(self), bytes: 0 };
        share.grow(bytes)?;
        Ok(share)
    }
}

impl Share {
    /// Makes it at least `bytes` large. The last quarter of the memory is for small shares: however
    /// many long messages stall half-way, headers and pings of the other sessions pass.
    fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let limit = self.memory.limit.load(Relaxed);
        let ceiling = if bytes > SMALL { limit - limit / 4 } else { limit };
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.memory.take(more, ceiling) {
            return Err(Exhausted { limit });
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives back what is beyond `bytes`.
    fn shrink(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.memory.give(less);
        self.bytes -= less;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

impl Buffer {
    /// An empty one, which takes nothing yet.
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        Self { bytes: Vec::new(), share: Share { memory: Arc::clone(memory), bytes: 0 } }
    }

    /// Where it takes from.
    pub(crate) const fn memory(&self) -> &Arc<Memory> {
        &self.share.memory
    }

    /// Makes room for `room` more bytes.
    pub(crate) fn reserve(&mut self, room: usize) -> Result<(), Exhausted> {
        let wanted = self.bytes.len().saturating_add(room);
        if wanted > self.bytes.capacity() {
            self.share.grow(wanted)?;
            self.bytes.reserve_exact(room);
        }
        Ok(())
    }

    /// Lets `fill` append as many bytes as there is room for.
    pub(crate) fn append<T>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let capacity = self.bytes.capacity();
        let result = fill(&mut self.bytes);
        debug_assert_eq!(capacity, self.bytes.capacity(), "memory that is not accounted for");
        result
    }

    /// Bytes that can be appended.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Drops `count` bytes at the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Gives back the capacity beyond `capacity` and the bytes held.
    pub(crate) fn shrink_to(&mut self, capacity: usize) {
        self.bytes.shrink_to(capacity);
        self.share.shrink(self.bytes.capacity());
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Unit of `--max-memory`, in bytes.
pub(crate) const MIB: usize = 1024 * 1024;

/// Shares up to this size may use the last quarter: what either buffer takes for a full headers
/// message, which has 162 kB, with more behind it.
const SMALL: usize = 320 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(limit: usize) -> (Arc<Memory>, Arc<Stats>) {
        let stats = Arc::new(Stats::default());
        (Memory::new(limit, Arc::clone(&stats)), stats)
    }

    #[test]
    fn a_buffer_takes_what_it_can_hold_and_gives_it_back() {
        let (memory, stats) = memory(MIB);
        let mut buffer = Buffer::new(&memory);
        assert_eq!(stats.memory(), 0);
        buffer.reserve(1000).unwrap();
        buffer.append(|bytes| bytes.extend_from_slice(&[7; 600]));
        assert_eq!((stats.memory(), buffer.room()), (1000, 400));
        buffer.reserve(400).unwrap();
        assert_eq!(stats.memory(), 1000, "there was room");
        buffer.reserve(401).unwrap();
        assert_eq!(stats.memory(), 1001);

        buffer.consume(500);
        assert_eq!((buffer.len(), stats.memory()), (100, 1001));
        buffer.shrink_to(50);
        assert_eq!(stats.memory(), 100, "the bytes held stay");
        drop(buffer);
        assert_eq!(stats.memory(), 0);
    }

    #[test]
    fn beyond_the_limit_nothing_grows_and_nothing_is_lost() {
        let (memory, stats) = memory(1000);
        let share = memory.share(900).unwrap();
        let mut buffer = Buffer::new(&memory);
        buffer.reserve(100).unwrap();
        buffer.append(|bytes| bytes.extend_from_slice(&[7; 100]));
        let refused = buffer.reserve(1);
        assert_eq!(refused, Err(Exhausted { limit: 1000 }));
        assert!(memory.share(1).is_err());
        assert_eq!((&buffer[..], stats.memory()), (&[7; 100][..], 1000));
        drop(share);
        buffer.reserve(1).unwrap();
        assert_eq!(stats.memory(), 101);
    }

    #[test]
    fn the_last_quarter_is_for_small_shares() {
        let (memory, _stats) = memory(8 * SMALL);
        let large = memory.share(6 * SMALL).unwrap();
        assert!(memory.share(SMALL + 1).is_err());
        let _small = [memory.share(SMALL).unwrap(), memory.share(SMALL).unwrap()];
        assert!(memory.share(1).is_err());
        drop(large);
        assert!(memory.share(SMALL + 1).is_ok());
    }

    #[test]
    fn half_of_it_leaves_the_others_theirs() {
        let (memory, stats) = memory(8 * SMALL);
        let half = memory.half();
        let large = half.share(3 * SMALL).unwrap();
        assert!(half.share(SMALL + 1).is_err(), "its last quarter is for small shares");
        let small = half.share(SMALL).unwrap();
        assert!(half.share(1).is_err());
        let _others = memory.share(2 * SMALL).unwrap();
        drop((large, small));
        assert_eq!(stats.memory(), 2 * SMALL);

        let _rest = memory.share(4 * SMALL).unwrap();
        assert!(half.share(2 * SMALL).is_err(), "there is less than half left");
        assert!(half.share(SMALL).is_ok(), "nothing was kept of what was refused");
    }

    #[test]
    fn another_limit_holds_for_the_whole_and_its_half() {
        let (memory, _stats) = memory(8 * SMALL);
        let half = memory.half();
        let _share = memory.share(2 * SMALL).unwrap();
        memory.set_limit(SMALL);
        let refused = Err(Exhausted { limit: SMALL });
        assert_eq!(memory.share(1).map(drop), refused);
        assert_eq!(half.share(1).map(drop), refused);
        memory.set_limit(6 * SMALL);
        let _halves = [(); 3].map(|()| half.share(SMALL).unwrap());
        assert!(half.share(1).is_err());
        assert!(memory.share(SMALL).is_ok());
    }

    #[test]
    fn the_text_names_the_option_and_its_value() {
        let text = Exhausted { limit: 64 * MIB }.to_string();
        assert!(text.contains("64 MiB of --max-memory"), "{text}");
    }
}
