//! Memory follows what arrived, never what was announced, and is not taken message by message.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bip324_transport::limits::MAX_CONTENTS;
use bip324_transport::v2::Error;

use crate::peer::{established, message, receiver, sender, short};
use bip324_transport::v2::Role;

/// The system's allocator, counting the bytes that each thread asks for.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static REQUESTED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: usize) {
    REQUESTED.with(|requested| requested.set(requested.get() + bytes));
}

/// How many bytes `work` asks for on this thread.
fn requested_by<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = REQUESTED.get();
    let result = work();
    (REQUESTED.get() - before, result)
}

#[test]
fn the_allocator_counts() {
    assert!(requested_by(|| Vec::<u8>::with_capacity(1000)).0 >= 1000);
}

#[test]
fn an_announced_length_allocates_nothing() {
    for announced in [MAX_CONTENTS, MAX_CONTENTS + 1, (1 << 24) - 1] {
        for in_handshake in [true, false] {
            let (mut inbox, mut peer) = if in_handshake {
                let (mut inbox, peer) = receiver(Role::Initiator);
                inbox.feed(&peer.terminator).unwrap();
                (inbox, peer)
            } else {
                established()
            };
            let mut input = peer.length(announced);
            let mut out = Vec::new();
            let (requested, result) =
                requested_by(|| inbox.receiver.translate(&mut input, &mut out));
            match announced {
                MAX_CONTENTS => assert_eq!(result.unwrap().wants, 20 + MAX_CONTENTS),
                _ => assert_eq!(result, Err(Error::ContentsTooLong(announced))),
            }
            assert_eq!(requested, 0, "{announced} bytes announced");
        }
    }
}

#[test]
fn a_client_s_announced_length_allocates_nothing() {
    let (mut outbox, _) = sender();
    let whole = message("block", &vec![0; 4_000_000]);
    let mut out = Vec::new();
    let (requested, progress) = requested_by(|| outbox.sender.translate(&whole[..100], &mut out));
    assert_eq!(progress.unwrap().wants, 4_000_024);
    assert_eq!(requested, 0);
}

#[test]
fn messages_are_translated_without_an_allocation_each() {
    let stream = message("inv", &[7; 37]).repeat(1000);
    let mut out = Vec::with_capacity(100_000);
    let (mut outbox, _) = sender();
    let (requested, result) = requested_by(|| outbox.sender.translate(&stream, &mut out));
    assert_eq!(result.unwrap().consumed, stream.len());
    assert_eq!(requested, 0, "v1 to v2");

    let (mut inbox, mut peer) = established();
    let mut packets: Vec<u8> = (0..1000).flat_map(|_| peer.genuine(&short(14, &[7; 37]))).collect();
    let mut out = Vec::with_capacity(100_000);
    let (requested, result) = requested_by(|| inbox.receiver.translate(&mut packets, &mut out));
    assert_eq!(result.unwrap().consumed, packets.len());
    assert!(out == stream);
    assert_eq!(requested, 0, "v2 to v1");
}

#[test]
fn garbage_without_end_is_kept_once_at_most() {
    let (mut inbox, _) = receiver(Role::Initiator);
    let mut input = vec![0; 4110];
    let (requested, result) =
        requested_by(|| inbox.receiver.translate(&mut input, &mut Vec::new()));
    assert_eq!(result.unwrap().consumed, 0);
    assert_eq!(requested, 0);
}
