//! The client's process of a session, found with the rights of whoever runs this program: the kernel
//! tells the number of the client's socket to anybody, but who has it open only to root and to
//! processes of the same user and group.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bip324_control::Session;
use bip324_sock_diag::{Owner, SockDiag};
use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name, which it chooses itself.
    pub name: String,
}

/// The clients' processes by session, as far as they can be seen. `listeners` are the daemon's: what
/// was not redirected is connected to one of them.
#[must_use]
pub fn clients(sessions: &[Session], listeners: &[SocketAddr]) -> BTreeMap<u64, Process> {
    let wanted = sockets(sessions, listeners);
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let holders = holders(&wanted);
    let found = wanted.iter().filter_map(|(inode, session)| {
        holders.get(inode).map(|process| (*session, process.clone()))
    });
    found.collect()
}

/// The name of a user, or the number where it has none.
#[must_use]
pub fn user(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// The group that a file belongs to, where there is one of that number.
#[must_use]
pub fn group_of(file: &Path) -> Option<String> {
    let gid = Gid::from_raw(fs::metadata(file).ok()?.gid());
    Some(Group::from_gid(gid).ok().flatten()?.name)
}

/// The sockets of the sessions' clients, by inode.
fn sockets(sessions: &[Session], listeners: &[SocketAddr]) -> BTreeMap<u32, u64> {
    // Without the kernel's answer no process is found, and that is said in any case.
    let Ok(mut kernel) = SockDiag::open() else { return BTreeMap::new() };
    let mut find = |session: &Session| {
        let redirected = session.redirected.then_some(session.destination);
        let remotes = if session.redirected { &[] } else { listeners };
        let mut remotes = redirected.iter().chain(remotes);
        // What is not the user's whom the daemon saw has come to these addresses after the client.
        let its = |owner: &Owner| session.uid.is_none_or(|uid| uid == owner.uid);
        remotes.find_map(|remote| {
            kernel.connection(session.client, *remote).ok().flatten().filter(its)
        })
    };
    sessions.iter().filter_map(|session| Some((find(session)?.inode, session.id))).collect()
}

/// Who holds these sockets: of several processes the first.
fn holders(wanted: &BTreeMap<u32, u64>) -> BTreeMap<u32, Process> {
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        for inode in open_sockets(&process.path()).filter(|inode| wanted.contains_key(inode)) {
            found.entry(inode).or_insert_with(|| Process { pid, name: name(&process.path()) });
        }
        if found.len() == wanted.len() {
            break;
        }
    }
    found
}

/// Inodes of the sockets that a process has open; none where it may not be looked at.
fn open_sockets(process: &Path) -> impl Iterator<Item = u32> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| {
        let link = fs::read_link(descriptor.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

fn name(process: &Path) -> String {
    let name = fs::read(process.join("comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use bip324_control::{Flow, Kind};

    use super::*;

    fn session(id: u64, client: SocketAddr, destination: SocketAddr, redirected: bool) -> Session {
        Session {
            id,
            kind: Kind::V2,
            client,
            uid: None,
            redirected,
            destination,
            network: None,
            client_agent: None,
            peer_agent: None,
            session_id: None,
            age: 0,
            handshake: 0,
            to_peer: Flow::default(),
            to_client: Flow::default(),
        }
    }

    #[test]
    fn a_client_s_process_is_found_by_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let clients_of_ours = [TcpStream::connect(at).unwrap(), TcpStream::connect(at).unwrap()];
        let [one, two] = clients_of_ours.each_ref().map(|client| client.local_addr().unwrap());
        let elsewhere = "192.0.2.1:8333".parse().unwrap();
        let sessions = [
            session(1, one, at, true),
            session(2, two, elsewhere, false),
            session(3, elsewhere, at, true),
        ];
        let found = clients(&sessions, &[elsewhere, at]);
        let pid = std::process::id();
        let pids: Vec<_> = found.iter().map(|(id, process)| (*id, process.pid)).collect();
        assert_eq!(pids, [(1, pid), (2, pid)]);
        assert!(!found[&1].name.is_empty());
        let mut sessions = sessions;
        let us = Uid::current().as_raw();
        (sessions[0].uid, sessions[1].uid) = (Some(us), Some(us + 1));
        let found = clients(&sessions, &[elsewhere, at]);
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [1], "a socket of another user's");
        assert!(clients(&[], &[at]).is_empty());
    }
}
