//! The system calls that are left (seccomp(2)): what tokio, std and glibc make while the daemon
//! serves, on x86_64 and aarch64, as strace and glibc's sources show it.
//!
//! A call that is not listed fails with EPERM; it does not end the process. That is as tight: the
//! call does not happen. But the day that a new glibc makes a call nobody thought of, one thing
//! fails, which the code must expect of every call anyway, and not all sessions at once. A call of
//! another architecture does end it: this program contains none.
//!
//! One refusal is expected: glibc's malloc asks /proc/sys/vm/overcommit_memory once when it returns
//! memory, and without an answer goes on as by default.

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::Error;

/// Filters the calling thread's system calls; with `open`, files and folders can still be opened to
/// read.
/// Returns whether the kernel can.
pub(super) fn filter(open: bool) -> Result<bool, Error> {
    let programs = programs(open).map_err(seccompiler::Error::from)?;
    for program in &programs {
        match seccompiler::apply_filter(program) {
            Err(seccompiler::Error::Seccomp(error)) if is_missing(&error) => return Ok(false),
            result => result?,
        }
    }
    Ok(true)
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOSYS)
}

/// The strictest answer of all programs counts.
fn programs(open: bool) -> Result<[BpfProgram; 2], BackendError> {
    let build = |rules, otherwise, then| {
        let architecture = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, otherwise, then, architecture)?.try_into()
    };
    let errno = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    // Flags behind a pointer cannot be filtered. At ENOSYS glibc turns to clone, whose flags can.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    Ok([
        build(clone3, SeccompAction::Allow, errno(libc::ENOSYS))?,
        build(allowed(open)?, errno(libc::EPERM), SeccompAction::Allow)?,
    ])
}

/// For each system call that is allowed, the rules of which one must match; any arguments, if there
/// are none.
fn allowed(open: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<_, _> = CALLS.iter().map(|&call| (call, vec![])).collect();
    rules.extend([
        (libc::SYS_clone, vec![all(&[(0, Eq, THREAD)])?]),
        (libc::SYS_mmap, vec![all(&[(2, MaskedEq(PROT_EXEC), 0)])?]),
        (libc::SYS_mprotect, vec![all(&[(2, MaskedEq(PROT_EXEC), 0)])?]),
        // Of its options that reach beyond this thread none; this is its name.
        (libc::SYS_prctl, vec![all(&[(0, Eq, value(libc::PR_SET_NAME))])?]),
        // abort(3) and raise(3); kill, for others, is not listed.
        (libc::SYS_tgkill, vec![all(&[(0, Eq, std::process::id().into())])?]),
        (libc::SYS_fcntl, any(1, &FCNTL)?),
        // No TIOCSTI: that would type into the terminal that the daemon was started from.
        (libc::SYS_ioctl, any(1, &IOCTL)?),
        (libc::SYS_socket, sockets()?),
        (libc::SYS_socketpair, any(0, &[libc::AF_UNIX])?),
        (libc::SYS_setsockopt, options()?),
        // For netlink: an IP address is longer. A Unix socket can have a name of this length; it is
        // one of datagrams, and in no folder, for which Landlock is there.
        (libc::SYS_bind, vec![all(&[(2, Eq, size_of::<libc::sockaddr_nl>() as u64)])?]),
    ]);
    if open {
        rules.insert(libc::SYS_openat, vec![all(&[(2, MaskedEq(OPEN_MASK), 0)])?]);
        rules.insert(libc::SYS_getdents64, vec![]);
        // opendir(3) asks whether it is a folder. By its descriptor: glibc since 2.33 in one way, before
        // and after 2.39 in the other.
        rules.insert(libc::SYS_fstat, vec![]);
        rules.insert(libc::SYS_newfstatat, vec![all(&[(3, Eq, value(libc::AT_EMPTY_PATH))])?]);
    }
    Ok(rules)
}

/// TCP; datagrams to the service manager; the kernel's answers about interfaces and socket owners.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let (stream, datagram) = (value(libc::SOCK_STREAM), value(libc::SOCK_DGRAM));
    let (family, kind, protocol) = (0, (1, MaskedEq(SOCK_TYPE_MASK)), 2);
    let mut rules = Vec::new();
    for inet in [libc::AF_INET, libc::AF_INET6] {
        for tcp in [0, libc::IPPROTO_TCP] {
            rules.push(all(&[
                (family, Eq, value(inet)),
                (kind.0, kind.1.clone(), stream),
                (protocol, Eq, value(tcp)),
            ])?);
        }
    }
    rules.push(all(&[(family, Eq, value(libc::AF_UNIX)), (kind.0, kind.1, datagram)])?);
    for netlink in [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG] {
        let netlink = (protocol, Eq, value(netlink));
        rules.push(all(&[(family, Eq, value(libc::AF_NETLINK)), netlink])?);
    }
    Ok(rules)
}

fn options() -> Result<Vec<SeccompRule>, BackendError> {
    let option = |&(level, name)| all(&[(1, Eq, value(level)), (2, Eq, value(name))]);
    OPTIONS.iter().map(option).collect()
}

/// All of these conditions: argument, comparison, value. Of an argument only the lower half is
/// compared, as all these are ints to the kernel.
fn all(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let condition = |(argument, comparison, value): &(_, SeccompCmpOp, _)| {
        SeccompCondition::new(*argument, Dword, comparison.clone(), *value)
    };
    SeccompRule::new(conditions.iter().map(condition).collect::<Result<_, _>>()?)
}

/// Any of these values of `argument`.
fn any(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|&wanted| all(&[(argument, Eq, value(wanted))])).collect()
}

/// A constant of C as the lower half of an argument.
fn value(constant: i32) -> u64 {
    u64::from(constant as u32)
}

pub(super) const MISSING: &str =
    "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER): system calls are not restricted";

/// With any arguments.
const CALLS: &[i64] = &[
    // Sockets.
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    // Descriptors, and waiting for them.
    libc::SYS_close,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads. The other program answers to clone3.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals; restart_syscall is what SIGCONT resumes.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time where the vDSO cannot tell it, and randomness.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
];

/// What pthread_create(3) asks of clone (glibc: nptl/pthread_create.c, create_thread). No process,
/// no namespace.
const THREAD: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

const PROT_EXEC: u64 = libc::PROT_EXEC as u64;

/// What would make an opened file more than readable.
const OPEN_MASK: u64 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;

/// Without SOCK_NONBLOCK and SOCK_CLOEXEC (linux/net.h).
const SOCK_TYPE_MASK: u64 = 0xf;

/// No F_SETOWN and F_SETSIG, which send signals.
const FCNTL: [i32; 6] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_GETFL,
    libc::F_SETFD,
    libc::F_SETFL,
];

/// As std sets them.
const IOCTL: [i32; 2] = [libc::FIOCLEX as i32, libc::FIONBIO as i32];

/// Level and name.
const OPTIONS: [(i32, i32); 8] = [
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
];
