//! System calls that the daemon never makes, with arguments that do no harm where nobody refuses.

use nix::errno::Errno;
use nix::libc::*;

/// A system call with these arguments, and zeros.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    number: c_long,
    arguments: &'static [c_int],
    /// What else any user gets: anything but EPERM. Elsewhere the kernel may say EPERM itself.
    pub(crate) anybody: bool,
}

impl Call {
    pub(crate) fn run(&self) -> Result<c_long, Errno> {
        let argument = |at| c_long::from(self.arguments.get(at).copied().unwrap_or(0));
        let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(argument);
        // SAFETY: no argument is an address but null, and mmap picks its own.
        Errno::result(unsafe { syscall(self.number, a, b, c, d, e, f) })
    }

    pub(crate) fn errno(&self) -> Option<Errno> {
        self.run().err()
    }
}

const fn anybody(name: &'static str, number: c_long, arguments: &'static [c_int]) -> Call {
    Call { name, number, arguments, anybody: true }
}

const fn privileged(name: &'static str, number: c_long, arguments: &'static [c_int]) -> Call {
    Call { name, number, arguments, anybody: false }
}

/// glibc takes ENOSYS to its clone, whose flags the filter can see.
pub(crate) const CLONE3: Call = anybody("clone3", SYS_clone3, &[]);

pub(crate) const FORBIDDEN: &[Call] = &[
    // Programs and processes. These flags contradict each other, so that nobody forks.
    anybody("execve", SYS_execve, &[]),
    anybody("execveat", SYS_execveat, &[-1]),
    anybody("clone of a process", SYS_clone, &[CLONE_SIGHAND | SIGCHLD]),
    anybody("clone of a namespace", SYS_clone, &[CLONE_NEWUSER | CLONE_FS | SIGCHLD]),
    anybody("unshare", SYS_unshare, &[]),
    anybody("setns", SYS_setns, &[-1]),
    privileged("mount", SYS_mount, &[]),
    privileged("pivot_root", SYS_pivot_root, &[]),
    // Other processes. Nobody has the highest id of all.
    anybody("kill", SYS_kill, &[MAX_ID]),
    anybody("tkill", SYS_tkill, &[MAX_ID]),
    anybody("tgkill of others", SYS_tgkill, &[MAX_ID, MAX_ID]),
    anybody("rt_sigqueueinfo", SYS_rt_sigqueueinfo, &[MAX_ID]),
    anybody("pidfd_open", SYS_pidfd_open, &[]),
    anybody("pidfd_send_signal", SYS_pidfd_send_signal, &[-1]),
    anybody("pidfd_getfd", SYS_pidfd_getfd, &[-1]),
    anybody("fcntl F_SETOWN", SYS_fcntl, &[-1, F_SETOWN]),
    anybody("ptrace", SYS_ptrace, &[PTRACE_PEEKDATA as c_int, MAX_ID]),
    anybody("process_vm_readv", SYS_process_vm_readv, &[MAX_ID]),
    anybody("process_vm_writev", SYS_process_vm_writev, &[MAX_ID]),
    // Code.
    anybody("mmap PROT_EXEC", SYS_mmap, &[0, 4096, EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1]),
    anybody("mprotect PROT_EXEC", SYS_mprotect, &[0, 0, EXEC]),
    anybody("pkey_mprotect", SYS_pkey_mprotect, &[0, 0, EXEC, -1]),
    anybody("memfd_create", SYS_memfd_create, &[]),
    anybody("personality", SYS_personality, &[-1]),
    // Interfaces of the kernel that have had more than their share of holes.
    anybody("io_uring_setup", SYS_io_uring_setup, &[]),
    privileged("bpf", SYS_bpf, &[-1]),
    anybody("keyctl", SYS_keyctl, &[KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING]),
    anybody("perf_event_open", SYS_perf_event_open, &[]),
    privileged("userfaultfd", SYS_userfaultfd, &[-1]),
    privileged("init_module", SYS_init_module, &[]),
    // Files.
    anybody("openat", SYS_openat, &[AT_FDCWD]),
    anybody("openat2", SYS_openat2, &[AT_FDCWD]),
    anybody("readlinkat", SYS_readlinkat, &[AT_FDCWD, 0, 0, 1]),
    anybody("statx", SYS_statx, &[AT_FDCWD]),
    anybody("unlinkat", SYS_unlinkat, &[AT_FDCWD]),
    anybody("renameat2", SYS_renameat2, &[AT_FDCWD]),
    anybody("chdir", SYS_chdir, &[]),
    anybody("ioctl TIOCSTI", SYS_ioctl, &[-1, TIOCSTI as c_int]),
    // Sockets.
    anybody("UDP", SYS_socket, &[AF_INET, SOCK_DGRAM]),
    anybody("UDP over IPv6", SYS_socket, &[AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC]),
    anybody("Multipath TCP", SYS_socket, &[AF_INET, SOCK_STREAM, IPPROTO_MPTCP]),
    anybody("SCTP", SYS_socket, &[AF_INET, SOCK_STREAM, IPPROTO_SCTP]),
    privileged("raw IP", SYS_socket, &[AF_INET, SOCK_RAW, IPPROTO_ICMP]),
    privileged("AF_PACKET", SYS_socket, &[AF_PACKET, SOCK_DGRAM]),
    anybody("AF_VSOCK", SYS_socket, &[AF_VSOCK, SOCK_STREAM]),
    anybody("AF_ALG", SYS_socket, &[AF_ALG, SOCK_SEQPACKET]),
    anybody("AF_UNIX streams", SYS_socket, &[AF_UNIX, SOCK_STREAM]),
    anybody("NETLINK_GENERIC", SYS_socket, &[AF_NETLINK, SOCK_RAW, NETLINK_GENERIC]),
    anybody("NETLINK_NETFILTER", SYS_socket, &[AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER]),
    anybody("bind IPv4", SYS_bind, &[-1, 0, 16]),
    anybody("bind IPv6", SYS_bind, &[-1, 0, 28]),
    anybody("listen", SYS_listen, &[-1]),
    anybody("SO_ATTACH_FILTER", SYS_setsockopt, &[-1, SOL_SOCKET, SO_ATTACH_FILTER]),
    anybody("TCP_ULP", SYS_setsockopt, &[-1, IPPROTO_TCP, TCP_ULP]),
    // Itself.
    anybody("prctl", SYS_prctl, &[PR_GET_DUMPABLE]),
    anybody("prlimit", SYS_prlimit64, &[]),
    anybody("setresuid", SYS_setresuid, &[-1, -1, -1]),
    privileged("capset", SYS_capset, &[]),
    anybody("seccomp", SYS_seccomp, &[2]),
    anybody("landlock_create_ruleset", SYS_landlock_create_ruleset, &[0, 0, 1]),
    // The numbers of x32, which the kernel takes for the same architecture.
    #[cfg(target_arch = "x86_64")]
    anybody("getpid of x32", SYS_getpid | 0x4000_0000, &[]),
];

const EXEC: c_int = PROT_READ | PROT_EXEC;
const MAX_ID: c_int = c_int::MAX;
// linux/keyctl.h
const KEYCTL_GET_KEYRING_ID: c_int = 0;
const KEY_SPEC_SESSION_KEYRING: c_int = -3;
