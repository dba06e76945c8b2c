//! What the C library does with memory that is freed.

#[cfg(target_env = "gnu")]
use nix::libc;

/// From now on every large buffer is a mapping of its own, which the system has back as soon as it is
/// freed. Call it before there are threads.
///
/// glibc by itself takes large buffers from its heap once it has seen one freed, and cannot give back
/// what lies below the small pieces of sessions that live on: 1,000 sessions that had carried one block
/// each kept six times the memory that they had been idle with.
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a parameter of glibc's, which has no safe name")]
    // SAFETY: mallopt takes two numbers, and holds malloc's own lock while it keeps the second.
    unsafe {
        // It fails for values beyond its limits only, and then all stays as it was.
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// What a session's buffer has at least once bytes flow: one read of the relay.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 64 * 1024;
