//! Landlock (landlock(7)): what system calls may reach, whichever they are.
//!
//! Outgoing connections are not restricted: a peer may have any address and, redirected, any port.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};

use super::Error;

/// Leaves the calling thread no file but those of `readable` and in the folders of it, no TCP port to bind,
/// and neither signals nor abstract Unix sockets to reach other processes with; as far as the kernel can.
pub(super) fn restrict(readable: &[PathBuf]) -> Result<LandlockStatus, Error> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in readable {
        let list = AccessFs::ReadFile | AccessFs::ReadDir;
        let read = if path.is_dir() { list } else { AccessFs::ReadFile.into() };
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, read))?;
    }
    Ok(ruleset.restrict_self()?.landlock)
}

/// What of it the kernel lacks.
pub(super) fn missing(status: LandlockStatus) -> Option<String> {
    match status {
        LandlockStatus::NotImplemented => Some(
            "this kernel has no Landlock (Linux 5.13), or the service manager's system call filter \
             refuses it"
                .to_owned(),
        ),
        LandlockStatus::NotEnabled => Some(
            "Landlock is not enabled: add landlock to the kernel's parameter lsm=".to_owned(),
        ),
        LandlockStatus::Available { effective_abi: abi, .. } => {
            let lacks = names(|since| since > abi);
            let line = || format!("this kernel's Landlock, ABI {abi}, does not restrict {lacks}");
            (!lacks.is_empty()).then(line)
        }
    }
}

/// What of it the kernel has: its ABI, and what that restricts.
pub(super) fn in_force(status: LandlockStatus) -> Option<String> {
    let LandlockStatus::Available { effective_abi, kernel_abi } = status else {
        return None;
    };
    let abi = kernel_abi.unwrap_or(effective_abi as i32);
    Some(format!("ABI {abi}, restricts {}", names(|since| since <= effective_abi)))
}

fn names(wanted: impl Fn(ABI) -> bool) -> String {
    let found = RIGHTS.iter().filter(|&&(since, _)| wanted(since)).map(|&(_, name)| name);
    found.collect::<Vec<_>>().join(", ")
}

/// The newest ABI that this has been tested with. Later ones could restrict more than is meant: ABI
/// 9 can Unix sockets in the file system, through which the service manager is notified.
const NEWEST: ABI = ABI::V7;

/// What [`restrict`] restricts, and the ABI that began to.
const RIGHTS: [(ABI, &str); 6] = [
    (ABI::V1, "files"),
    (ABI::V2, "moving files"),
    (ABI::V3, "truncating files"),
    (ABI::V4, "binding TCP ports"),
    (ABI::V5, "ioctl on devices"),
    (ABI::V6, "signals and abstract Unix sockets"),
];

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::net::TcpListener;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::process::Command;
    use std::thread;

    use nix::libc::{EACCES, EPERM};
    use nix::sys::signal::kill;
    use nix::unistd::getppid;

    use super::*;

    /// What comes of what Landlock forbids. The filter of seccomp would refuse it all before.
    fn outcomes(service: &SocketAddr) -> [Option<i32>; 6] {
        let errno = |error: Option<io::Error>| error.and_then(|error| error.raw_os_error());
        [
            errno(File::open("/etc/passwd").err()),
            errno(File::options().write(true).open("/dev/null").err()),
            errno(Command::new("/bin/true").status().err()),
            errno(TcpListener::bind("127.0.0.1:0").err()),
            errno(UnixStream::connect_addr(service).err()),
            kill(getppid(), None).err().map(|errno| errno as i32),
        ]
    }

    #[test]
    fn i6_landlock_alone_refuses_files_programs_ports_and_processes() {
        let name = format!("bip324-landlock-{}", std::process::id());
        let service = SocketAddr::from_abstract_name(name).unwrap();
        let _listener = UnixListener::bind_addr(&service).unwrap();
        assert_eq!(outcomes(&service), [None; 6]);
        let restricted = thread::spawn(move || (restrict(&[]).unwrap(), outcomes(&service)));
        let (status, outcomes) = restricted.join().unwrap();
        let LandlockStatus::Available { effective_abi, .. } = status else {
            panic!("run this test on a kernel with Landlock: {status:?}");
        };
        let since = [ABI::V1, ABI::V1, ABI::V1, ABI::V4, ABI::V6, ABI::V6];
        let errno = [EACCES, EACCES, EACCES, EACCES, EPERM, EPERM];
        let expected = [0, 1, 2, 3, 4, 5].map(|n| (effective_abi >= since[n]).then_some(errno[n]));
        assert_eq!(outcomes, expected, "ABI {effective_abi}");
    }

    #[test]
    fn what_an_older_kernel_lacks_is_named() {
        let available =
            |effective_abi| LandlockStatus::Available { effective_abi, kernel_abi: None };
        let lacks = missing(available(ABI::V2)).unwrap();
        assert!(lacks.contains("truncating files, binding TCP ports, ioctl"), "{lacks}");
        assert!(!lacks.contains("moving files"), "{lacks}");
        assert_eq!(in_force(available(ABI::V1)).unwrap(), "ABI 1, restricts files");
        assert_eq!(missing(available(ABI::V6)), None);
        assert!(missing(LandlockStatus::NotEnabled).unwrap().contains("lsm="));
        assert_eq!(in_force(LandlockStatus::NotImplemented), None);
    }
}
