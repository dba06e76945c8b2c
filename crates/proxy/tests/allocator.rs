//! Freed buffers go back to the system. In a process of its own: it counts all of its memory.

#![expect(clippy::unwrap_used, reason = "as in a test")]

use std::fs;

use bip324_proxy::allocator::return_large_buffers;

/// Every session leaves small pieces between the buffers of the others.
#[test]
fn nothing_is_kept_of_a_burst() {
    return_large_buffers();
    let mut kept = Vec::new();
    let before = resident();
    for _ in 0..3 {
        let buffers: Vec<Vec<u8>> = (0..100)
            .map(|_| {
                kept.push(vec![1; 1000]);
                vec![1; 1_640_000]
            })
            .collect();
        assert!(resident() > before + 150_000, "the buffers are there");
        drop(buffers);
    }
    let after = resident();
    assert!(after < before + 5_000, "{before} KiB have become {after}");
}

/// KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
